/** Short news at the edge of the page, gone after a while. */
import { createContext, type ReactNode, useCallback, useContext, useState } from "react";
import { Failure } from "../api/client";
import { useText } from "../i18n";
import { Button, Notice } from "./basic";

type Tone = "good" | "warn" | "bad";
type Say = (text: string, tone?: Tone, hint?: string) => void;

const Context = createContext<Say>(() => {});
export const useToast = () => useContext(Context);

/** Says why something could not be done, and what to do next. */
export function useComplaint() {
  const toast = useToast();
  const { problem, hint } = useText();
  return useCallback(
    (error: unknown) => {
      if (!(error instanceof Failure)) return toast(String(error), "bad");
      toast(problem(error.code, error.detail), "bad", error.hint && hint(error.hint));
    },
    [toast, problem, hint],
  );
}

export function Toasts({ children }: { children: ReactNode }) {
  const { t } = useText();
  const [shown, setShown] = useState<{ id: number; text: string; tone: Tone; hint?: string }[]>([]);
  const drop = useCallback((id: number) => setShown((shown) => shown.filter((it) => it.id !== id)), []);
  const add = useCallback<Say>(
    (text, tone = "good", hint) => {
      const id = Date.now() + Math.random();
      setShown((shown) => [...shown.slice(-3), { id, text, tone, hint }]);
      setTimeout(() => drop(id), tone === "good" ? 4000 : 12_000);
    },
    [drop],
  );
  return (
    <Context value={add}>
      {children}
      <div className="toasts">
        {shown.map(({ id, text, tone, hint }) => (
          <Notice
            key={id}
            tone={tone}
            title={text}
            action={<Button small kind="quiet" icon="close" label={t("act.close")} onClick={() => drop(id)} />}
          >
            {hint && <span className="hint">{hint}</span>}
          </Notice>
        ))}
      </div>
    </Context>
  );
}
