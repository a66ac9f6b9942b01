/** How long to wait before the next try: longer each time, and never all at once. */

const FIRST_MS = 500;
const LONGEST_MS = 30_000;

/** Milliseconds before try `attempt` (from 1): half of a doubling time, and as much again by chance. */
export function pause(attempt: number, random: () => number = Math.random): number {
  const most = Math.min(LONGEST_MS, FIRST_MS * 2 ** Math.min(attempt, 10));
  return Math.round(most / 2 + (random() * most) / 2);
}

/** Waits, and ends at once when it is called off or the browser is online again. */
export function wait(ms: number, signal: AbortSignal): Promise<void> {
  return new Promise((resolve) => {
    const finish = () => {
      clearTimeout(timer);
      signal.removeEventListener("abort", finish);
      window.removeEventListener("online", finish);
      resolve();
    };
    const timer = setTimeout(finish, ms);
    signal.addEventListener("abort", finish);
    window.addEventListener("online", finish);
  });
}
