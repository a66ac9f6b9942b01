/** Uploads: bytes and rate as they go, and another try when the network was away. */
import { pause, wait } from "./backoff";
import { Failure, failureOf, sessionEnded, unreachable } from "./client";

export interface Progress {
  sent: number;
  total: number;
  /** Bytes in a second, of late. */
  rate: number;
  /** When the next try begins, after one that broke off. */
  retryAt?: number;
}

const TRIES = 6;

/** Sends a body and returns the answer. A body that broke off is sent again from its beginning: the server keeps no halves. */
export async function upload<T>(
  method: "POST" | "PUT",
  url: string,
  body: Blob,
  onProgress: (progress: Progress) => void,
  signal: AbortSignal,
): Promise<T> {
  for (let attempt = 1; ; attempt += 1) {
    try {
      return await once<T>(method, url, body, onProgress, signal);
    } catch (error) {
      const failure = error instanceof Failure ? error : unreachable();
      if (failure.status === 401) sessionEnded(failure);
      if (signal.aborted || attempt >= TRIES || !failure.isPassing) throw failure;
      const ms = pause(attempt);
      onProgress({ sent: 0, total: body.size, rate: 0, retryAt: Date.now() + ms });
      await wait(ms, signal);
    }
  }
}

function once<T>(
  method: string,
  url: string,
  body: Blob,
  onProgress: (progress: Progress) => void,
  signal: AbortSignal,
): Promise<T> {
  return new Promise((resolve, reject) => {
    const request = new XMLHttpRequest();
    const marks: { at: number; sent: number }[] = [{ at: performance.now(), sent: 0 }];
    request.open(method, url);
    request.setRequestHeader("content-type", "application/octet-stream");
    request.upload.onprogress = ({ loaded, total }) => {
      const now = performance.now();
      marks.push({ at: now, sent: loaded });
      while (marks.length > 2 && now - (marks[0]?.at ?? now) > 3000) marks.shift();
      const first = marks[0] ?? { at: now, sent: loaded };
      const rate = now > first.at ? ((loaded - first.sent) * 1000) / (now - first.at) : 0;
      onProgress({ sent: loaded, total, rate });
    };
    request.onerror = () => reject(unreachable());
    request.ontimeout = () => reject(unreachable());
    request.onabort = () => reject(new DOMException("called off", "AbortError"));
    request.onload = () => {
      let answer: T | undefined;
      try {
        answer = request.responseText ? JSON.parse(request.responseText) : undefined;
      } catch {
        reject(failureOf(request.status, request.responseText));
        return;
      }
      if (request.status < 200 || request.status > 299 || answer === undefined)
        reject(failureOf(request.status, answer));
      else resolve(answer);
    };
    signal.addEventListener("abort", () => request.abort());
    request.send(body);
  });
}
