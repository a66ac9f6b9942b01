/** How far the fetch of an image has come. */
import type { Schemas } from "../api/client";
import { useText } from "../i18n";
import { Meter } from "./basic";

export function Pull({ pull }: { pull: Schemas["PullProgress"] }) {
  const { t, bytes, span } = useText();
  const left = pull.bytes_per_sec > 0 ? span((pull.total_bytes - pull.current_bytes) / pull.bytes_per_sec) : "…";
  const words = t("upload.progress", {
    sent: bytes(pull.current_bytes),
    total: bytes(pull.total_bytes),
    rate: bytes(pull.bytes_per_sec),
    left,
  });
  return (
    <div role="status">
      <Meter parts={[{ value: pull.current_bytes }]} total={pull.total_bytes} label={words} />
      <span className="soft small">{words}</span>
    </div>
  );
}
