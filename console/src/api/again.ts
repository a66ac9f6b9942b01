/** Parts of the console that are loaded when they are opened: tried again when the network was away for a moment. */
import { pause } from "./backoff";

const TRIES = 4;

export async function again<T>(load: () => Promise<T>): Promise<T> {
  for (let attempt = 1; ; attempt += 1) {
    try {
      return await load();
    } catch (error) {
      if (attempt >= TRIES) throw error;
      await new Promise((resolve) => setTimeout(resolve, pause(attempt)));
    }
  }
}
