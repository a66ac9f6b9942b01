/** How much of a limit is used: its name, the amounts in words, and a bar. */
import { Meter } from "./basic";

interface UseProps {
  name: string;
  words: string;
  used: number;
  /** Without one there is no bar. */
  limit?: number;
  isFull: boolean;
}

export function Use({ name, words, used, limit, isFull }: UseProps) {
  return (
    <div>
      <div className="row apart small">
        <span>{name}</span>
        <span className="soft">{words}</span>
      </div>
      {limit !== undefined && (
        <Meter parts={[{ value: used, kind: isFull ? "warn" : undefined }]} total={limit} label={`${name}: ${words}`} />
      )}
    </div>
  );
}
