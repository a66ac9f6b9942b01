/** The YAML editor as a field of a form. */
import { useEffect, useId, useRef, useState } from "react";
import { again } from "../api/again";
import { useText } from "../i18n";
import { Skeleton, Trouble } from "../parts/basic";
import type { Finding } from "./check";
import type { Schema } from "./schema";
import type { YamlEditor } from "./yaml";

interface YamlFieldProps {
  label: string;
  value: string;
  onChange?: (text: string) => void;
  note?: string;
  hint?: string;
  schema?: (lines: string[]) => Schema | undefined;
  suggest?: (key: string, path: string[]) => string[];
  isReadOnly?: boolean;
  /** As high as this many lines. */
  rows?: number;
}

export function YamlField({
  label,
  value,
  onChange,
  note,
  hint,
  schema,
  suggest,
  isReadOnly,
  rows = 22,
}: YamlFieldProps) {
  const { t } = useText();
  const id = useId();
  const place = useRef<HTMLDivElement>(null);
  const editor = useRef<YamlEditor>(undefined);
  const [isThere, setThere] = useState(false);
  const [error, setError] = useState<unknown>();
  const [round, setRound] = useState(0);
  const say = ({ kind, text, given }: Finding) => t(`editor.${kind}`, { text, given });
  const settings = { label, text: value, isReadOnly, hint, schema, suggest, say, onChange };
  const latest = useRef(settings);
  latest.current = settings;

  // biome-ignore lint/correctness/useExhaustiveDependencies: another round loads it again
  useEffect(() => {
    let isOver = false;
    setError(undefined);
    again(() => import("./yaml")).then(
      ({ YamlEditor }) => {
        if (isOver || !place.current) return;
        editor.current = new YamlEditor(place.current, latest.current);
        setThere(true);
      },
      (error) => isOver || setError(error),
    );
    return () => {
      isOver = true;
      editor.current?.dispose();
      editor.current = undefined;
    };
  }, [round]);

  useEffect(() => {
    editor.current?.update(latest.current);
  });

  return (
    <div className="field">
      <span className="label" id={id}>
        {label}
      </span>
      {error !== undefined && <Trouble error={error} onRetry={() => setRound(round + 1)} />}
      {!isThere && error === undefined && <Skeleton />}
      {/* A new place for each round: a shadow root cannot be taken back. */}
      <div
        key={round}
        ref={place}
        className="editor"
        hidden={!isThere}
        style={{ height: `calc(${rows} * 20px + 16px)` }}
      />
      {note && <span className="note">{note}</span>}
    </div>
  );
}
