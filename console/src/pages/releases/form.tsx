/** Values as fields: what a chart says can be set, with its own words beside it. */
import { useState } from "react";
import type { Schema } from "../../editor/schema";
import { type FormOfValues, schemaOfField, typed, type ValuesField, valueAt, withValue } from "../../editor/values";
import { useText } from "../../i18n";
import { Foreign } from "../../parts/basic";
import { SelectField, TextField } from "../../parts/field";

interface FormProps {
  form: FormOfValues;
  text: string;
  onChange: (text: string) => void;
}

const NOTE_MAX = 200;

/** What is given as text only. */
const isField = (field: ValuesField) => field.type !== "object" && field.type !== "array";

export function ValuesForm({ form, text, onChange }: FormProps) {
  const { t } = useText();
  const sections = form.sections.filter((section) => section.fields.some(isField));
  if (sections.length === 0) return <p className="soft">{t("values.only_yaml")}</p>;
  return (
    <div className="stack">
      {sections.map((section) => (
        <Section key={section.title ?? ""} section={section} text={text} onChange={onChange} />
      ))}
      {form.is_shortened && <p className="soft">{t("values.shortened")}</p>}
    </div>
  );
}

function Section({ section, text, onChange }: { section: FormOfValues["sections"][number] } & Omit<FormProps, "form">) {
  const [isOpen, setOpen] = useState(false);
  const fields = section.fields.filter(isField);
  const shown = fields.map((field) => (
    <ValueField
      key={field.path.join(".")}
      name={field.path.at(-1) ?? ""}
      schema={schemaOfField(field)}
      isSecret={field.is_secret}
      text={text}
      onChange={onChange}
      path={field.path}
    />
  ));
  if (!section.title) return <div className="stack">{shown}</div>;
  return (
    <details onToggle={(event) => setOpen(event.currentTarget.open)}>
      <summary>
        <Foreign text={section.title} />
      </summary>
      {/* Large charts have hundreds of fields: those nobody looks at are not made. */}
      {isOpen && (
        <div className="values-group stack">
          {section.description && (
            <p className="soft">
              <Foreign text={section.description} />
            </p>
          )}
          {shown}
        </div>
      )}
    </details>
  );
}

interface FieldProps {
  name: string;
  schema: Schema;
  isSecret: boolean;
  text: string;
  onChange: (text: string) => void;
  path: string[];
}

function ValueField({ name, schema, isSecret, text, onChange, path }: FieldProps) {
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
      type={isSecret ? "password" : "text"}
      inputMode={isNumber ? "decimal" : "text"}
      wrong={isWrong ? t("values.number", { least: schema.minimum ?? "…", most: schema.maximum ?? "…" }) : undefined}
      onChange={(written) => set(typed(written, schema))}
      spellCheck={false}
      autoComplete={isSecret ? "new-password" : "off"}
    />
  );
}
