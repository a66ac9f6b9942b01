/** Short news at the edge of the page, gone after a while. */
import { createContext, type ReactNode, useCallback, useContext, useState } from "react";
import { Failure } from "../api/client";
import { useText } from "../i18n";
import { Button, Notice } from "./basic";

type Tone = "good" | "warn" | "bad";
type Say = (text: string, tone?: Tone) => void;

const Context = createContext<Say>(() => {});
export const useToast = () => useContext(Context);

/** Says why something could not be done. */
export function useComplaint() {
  const toast = useToast();
  const { problem } = useText();
  return useCallback(
    (error: unknown) => toast(error instanceof Failure ? problem(error.code, error.detail) : String(error), "bad"),
    [toast, problem],
  );
}

export function Toasts({ children }: { children: ReactNode }) {
  const { t } = useText();
  const [shown, setShown] = useState<{ id: number; text: string; tone: Tone }[]>([]);
  const drop = useCallback((id: number) => setShown((shown) => shown.filter((it) => it.id !== id)), []);
  const add = useCallback<Say>(
    (text, tone = "good") => {
      const id = Date.now() + Math.random();
      setShown((shown) => [...shown.slice(-3), { id, text, tone }]);
      setTimeout(() => drop(id), tone === "good" ? 4000 : 12_000);
    },
    [drop],
  );
  return (
    <Context value={add}>
      {children}
      <div className="toasts">
        {shown.map(({ id, text, tone }) => (
          <Notice
            key={id}
            tone={tone}
            title={text}
            action={<Button small kind="quiet" icon="close" label={t("act.close")} onClick={() => drop(id)} />}
          />
        ))}
      </div>
    </Context>
  );
}
