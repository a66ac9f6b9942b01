/** How the connection of a log does, in words. */
import type { Link } from "../api/stream";
import { useText } from "../i18n";
import { useNow } from "../parts/basic";

/** How the log's connection does, when that is of interest. */
export function LinkWords({ link }: { link: Link }) {
  const { t, problem } = useText();
  const now = useNow(1000);
  if (link.state === "waiting") return t("link.lost", { seconds: Math.max(1, Math.ceil((link.until - now) / 1000)) });
  if (link.state === "connecting") return t("link.connecting");
  if (link.state === "ended" && link.failure) return problem(link.failure.code, link.failure.detail);
  return link.state === "ended" ? t("log.end") : t("log.live");
}
