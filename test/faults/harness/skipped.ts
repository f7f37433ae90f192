/** This machine cannot inject the fault: the row is skipped by name. */
export class Skipped extends Error {}
