/** A listener at the end of the service. */
export interface Drainable {
  /**
   * Goes on answering, and lets HTTP/1.1 connections end with their next answer.
   * @param onRequest called for each request that comes from now on, but not for probes
   */
  drain(onRequest: () => void): void;
}
