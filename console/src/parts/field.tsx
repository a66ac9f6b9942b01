/** Fields of forms: a label, what it means, and what is wrong with what was typed. */
import {
  type InputHTMLAttributes,
  type ReactNode,
  type SelectHTMLAttributes,
  type TextareaHTMLAttributes,
  useId,
} from "react";

interface Around {
  label: string;
  note?: ReactNode;
  wrong?: string;
}

function useField(note: ReactNode, wrong: string | undefined) {
  const id = useId();
  const described = wrong ? `${id}-wrong` : note ? `${id}-note` : undefined;
  return {
    id,
    props: { id, className: "input", "aria-describedby": described, "aria-invalid": wrong ? true : undefined },
  };
}

function Frame({ id, label, note, wrong, children }: Around & { id: string; children: ReactNode }) {
  return (
    <div className="field">
      <label htmlFor={id}>{label}</label>
      {children}
      {wrong ? (
        <span className="wrong" id={`${id}-wrong`} role="alert">
          {wrong}
        </span>
      ) : (
        note && (
          <span className="note" id={`${id}-note`}>
            {note}
          </span>
        )
      )}
    </div>
  );
}

type Input = Omit<InputHTMLAttributes<HTMLInputElement>, "onChange"> & Around & { onChange: (value: string) => void };
export function TextField({ label, note, wrong, onChange, ...rest }: Input) {
  const { id, props } = useField(note, wrong);
  return (
    <Frame id={id} label={label} note={note} wrong={wrong}>
      <input {...props} {...rest} onChange={(event) => onChange(event.target.value)} />
    </Frame>
  );
}

type Area = Omit<TextareaHTMLAttributes<HTMLTextAreaElement>, "onChange"> &
  Around & { onChange: (value: string) => void };
export function AreaField({ label, note, wrong, onChange, ...rest }: Area) {
  const { id, props } = useField(note, wrong);
  return (
    <Frame id={id} label={label} note={note} wrong={wrong}>
      <textarea {...props} {...rest} onChange={(event) => onChange(event.target.value)} />
    </Frame>
  );
}

type Select = Omit<SelectHTMLAttributes<HTMLSelectElement>, "onChange"> &
  Around & { onChange: (value: string) => void };
export function SelectField({ label, note, wrong, onChange, children, ...rest }: Select) {
  const { id, props } = useField(note, wrong);
  return (
    <Frame id={id} label={label} note={note} wrong={wrong}>
      <select {...props} {...rest} onChange={(event) => onChange(event.target.value)}>
        {children}
      </select>
    </Frame>
  );
}

/** Yes or no. */
export function CheckField({
  label,
  note,
  checked,
  onChange,
}: {
  label: string;
  note?: string;
  checked: boolean;
  onChange: (checked: boolean) => void;
}) {
  const { id, props } = useField(note, undefined);
  const box = (
    <label className="check">
      <input
        type="checkbox"
        aria-describedby={props["aria-describedby"]}
        checked={checked}
        onChange={(event) => onChange(event.target.checked)}
      />
      {label}
    </label>
  );
  if (!note) return box;
  return (
    <div className="field">
      {box}
      <span className="note" id={`${id}-note`}>
        {note}
      </span>
    </div>
  );
}
