/** How a container is, in a word. */
import type { Container } from "../../api/client";
import { useText } from "../../i18n";
import { Badge } from "../../parts/basic";
import { containerTone } from "../../states";

/** The state, with what it waits for or why it failed. */
export function StateBadge({ container }: { container: Container }) {
  const { t, word } = useText();
  const { state, reason, message, exit_code, queue } = container;
  const more = queue
    ? t("container.queue", { position: queue.position })
    : state === "stopped" && exit_code != null && exit_code !== 0
      ? t("container.exit", { code: exit_code })
      : "";
  return (
    <Badge tone={containerTone(state)} title={message ?? (reason ? word("reason", reason) : undefined)}>
      {[word("state", state), more].filter(Boolean).join(" · ")}
    </Badge>
  );
}
