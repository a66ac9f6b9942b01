/** What would come of it: which objects change, and how. */
import type { Schemas } from "../../api/client";
import { useText } from "../../i18n";
import { Badge, Foreign, Notice, type Tone } from "../../parts/basic";

const tones: Record<string, Tone> = { added: "good", changed: "busy", removed: "bad", unchanged: "idle" };
const LINES_MAX = 4000;

export function PlanView({ plan }: { plan: Schemas["ReleasePlan"] }) {
  const { t, word } = useText();
  return (
    <section className="stack" aria-label={t("release.plan")}>
      <h2>{t("release.plan")}</h2>
      {plan.warnings.map((it) => (
        <Notice key={it} tone="warn" title={<Foreign text={it} />} />
      ))}
      <ul className="lines">
        {plan.changes.map((it) => (
          <li key={`${it.kind}/${it.name}`} className="row">
            <span className="grow">
              {it.kind} <Foreign text={it.name} />
            </span>
            <Badge tone={tones[it.change] ?? "idle"}>{word("planned", it.change)}</Badge>
          </li>
        ))}
      </ul>
      {plan.diff ? <Diff text={plan.diff} /> : <p className="soft">{t("release.no_diff")}</p>}
    </section>
  );
}

/** A unified diff, with its colours. */
function Diff({ text }: { text: string }) {
  const lines = text.split("\n");
  return (
    <pre className="code diff">
      {lines.slice(0, LINES_MAX).map((line, index) => (
        // biome-ignore lint/suspicious/noArrayIndexKey: lines have nothing but their place
        <div key={index} className={look(line)}>
          <Foreign text={line || " "} />
        </div>
      ))}
      {lines.length > LINES_MAX && "…"}
    </pre>
  );
}

function look(line: string): string {
  if (/^(\+\+\+|---|@@)/.test(line)) return "soft-line";
  return line.startsWith("+") ? "added" : line.startsWith("-") ? "removed" : "";
}
