/** What goes with something that is deleted, by name. */
import { Link } from "react-router";
import { useText } from "../i18n";
import { Foreign, Notice } from "./basic";

const SHOWN_MAX = 10;

export function Lost({ title, things }: { title: string; things: { name: string; to: string }[] }) {
  const { t } = useText();
  if (things.length === 0) return null;
  return (
    <Notice tone="warn" title={title}>
      <ul>
        {things.slice(0, SHOWN_MAX).map((it) => (
          <li key={it.to}>
            <Link to={it.to}>
              <Foreign text={it.name} />
            </Link>
          </li>
        ))}
        {things.length > SHOWN_MAX && <li>{t("attention.more", { count: things.length - SHOWN_MAX })}</li>}
      </ul>
    </Notice>
  );
}
