/** Values as fields: what a chart says can be set, with its own words beside it. */
import { useState } from "react";
import type { Schema } from "../../editor/schema";
import { typed, valueAt, withValue } from "../../editor/values";
import { useText } from "../../i18n";
import { Foreign } from "../../parts/basic";
import { SelectField, TextField } from "../../parts/field";

interface FormProps {
  schema: Schema;
  text: string;
  onChange: (text: string) => void;
  path?: string[];
}

const NOTE_MAX = 200;

export function ValuesForm({ schema, text, onChange, path = [] }: FormProps) {
  const { t } = useText();
  const fields = Object.entries(schema.properties ?? {});
  if (fields.length === 0) return <p className="soft">{t("values.only_yaml")}</p>;
  return (
    <div className="stack">
      {fields.map(([name, child]) => {
        const at = [...path, name];
        if (child.type === "object" && Object.keys(child.properties ?? {}).length > 0)
          return <Group key={name} name={name} schema={child} text={text} onChange={onChange} path={at} />;
        if (child.type === "object" || child.type === "array") return null;
        return <ValueField key={name} name={name} schema={child} text={text} onChange={onChange} path={at} />;
      })}
    </div>
  );
}

function Group({ name, schema, text, onChange, path }: Required<FormProps> & { name: string }) {
  const [isOpen, setOpen] = useState(false);
  return (
    <details onToggle={(event) => setOpen(event.currentTarget.open)}>
      <summary>
        <Foreign text={name} />
      </summary>
      {/* Large charts have hundreds of fields: those nobody looks at are not made. */}
      {isOpen && (
        <div className="values-group">
          <ValuesForm schema={schema} text={text} onChange={onChange} path={path} />
        </div>
      )}
    </details>
  );
}

function ValueField({ name, schema, text, onChange, path }: Required<FormProps> & { name: string }) {
  const { t } = useText();
  const value = valueAt(text, path);
  const shown = value === undefined || value === null ? "" : String(value);
  const set = (value: unknown) => onChange(withValue(text, path, value));
  const note = schema.description ? <Foreign text={schema.description.slice(0, NOTE_MAX)} /> : undefined;
  const fallback = schema.default === undefined || schema.default === null ? "" : String(schema.default);
  const label = path.join(".");
  const choices = schema.type === "boolean" ? ["true", "false"] : schema.choices;
  if (choices && choices.length > 0)
    return (
      <SelectField
        label={label}
        note={note}
        value={shown}
        onChange={(chosen) => set(chosen === "" ? undefined : schema.type === "boolean" ? chosen === "true" : chosen)}
      >
        <option value="">{t("values.default", { value: fallback || "–" })}</option>
        {choices.map((it) => (
          <option key={it} value={it}>
            {it}
          </option>
        ))}
      </SelectField>
    );
  const isNumber = schema.type === "integer" || schema.type === "number";
  const number = Number(shown);
  const isWrong =
    isNumber &&
    shown !== "" &&
    (!Number.isFinite(number) ||
      (schema.minimum !== undefined && number < schema.minimum) ||
      (schema.maximum !== undefined && number > schema.maximum));
  return (
    <TextField
      label={label}
      note={note}
      name={name}
      value={shown}
      placeholder={fallback}
      inputMode={isNumber ? "decimal" : "text"}
      wrong={isWrong ? t("values.number", { least: schema.minimum ?? "…", most: schema.maximum ?? "…" }) : undefined}
      onChange={(written) => set(typed(written, schema))}
      spellCheck={false}
      autoComplete="off"
    />
  );
}
