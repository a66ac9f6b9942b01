/** Small parts: buttons, badges, notices, empty places, skeletons. */
import { type MouseEvent, type ReactNode, useEffect, useId, useState } from "react";
import { Link } from "react-router";
import { Failure } from "../api/client";
import { plain } from "../format";
import { useText } from "../i18n";
import { Icon, type IconName } from "./icons";

interface ButtonProps {
  children?: ReactNode;
  icon?: IconName;
  onClick?: (event: MouseEvent) => void;
  /** An address makes it a link. */
  to?: string;
  kind?: "main" | "danger" | "quiet" | "danger main";
  small?: boolean;
  type?: "button" | "submit";
  /** Why it cannot be pressed now; absent when it can. */
  why?: string;
  busy?: boolean;
  /** Its name, where it shows only a picture. */
  label?: string;
}

/** A button. One that cannot be pressed says why, and can still be reached with the keyboard. */
export function Button({ children, icon, onClick, to, kind, small, type = "button", why, busy, label }: ButtonProps) {
  const className = ["button", kind, small && "small"].filter(Boolean).join(" ");
  const content = (
    <>
      {icon && <Icon name={icon} size={small ? 15 : 17} />}
      {children}
    </>
  );
  if (to && !why)
    return (
      <Link className={className} to={to} aria-label={label} title={label}>
        {content}
      </Link>
    );
  const isOff = why !== undefined || busy;
  return (
    <button
      type={type}
      className={className}
      aria-disabled={isOff || undefined}
      aria-busy={busy || undefined}
      aria-label={label}
      title={why ?? label}
      onClick={(event) => {
        if (isOff) event.preventDefault();
        else onClick?.(event);
      }}
    >
      {content}
    </button>
  );
}

export type Tone = "good" | "busy" | "warn" | "bad" | "idle";

export function Badge({
  tone,
  children,
  title,
  bare,
}: {
  tone: Tone;
  children: ReactNode;
  title?: string;
  bare?: boolean;
}) {
  return (
    <span className={`badge ${tone}${bare ? " bare" : ""}`} title={title}>
      {children}
    </span>
  );
}

/** Text that somebody else wrote: kept apart from its surroundings, and what hides in it made visible. */
export function Foreign({ text }: { text: string }) {
  return <bdi>{plain(text)}</bdi>;
}

export function Notice({
  tone = "busy",
  title,
  children,
  action,
}: {
  tone?: "busy" | "good" | "warn" | "bad";
  title?: ReactNode;
  children?: ReactNode;
  action?: ReactNode;
}) {
  return (
    <div className={`notice ${tone}`} role={tone === "bad" ? "alert" : "status"}>
      <Icon name={tone === "good" ? "check" : tone === "busy" ? "info" : "warn"} />
      <div>
        {title && <strong>{title}</strong>}
        {children && <div>{children}</div>}
      </div>
      {action}
    </div>
  );
}

/** What went wrong, in plain words, with the next step. */
export function Trouble({ error, onRetry }: { error: unknown; onRetry?: () => void }) {
  const { t, problem, hint } = useText();
  const failure = error instanceof Failure ? error : new Failure(0, "internal", String(error));
  return (
    <Notice
      tone="bad"
      title={<Foreign text={problem(failure.code, failure.detail)} />}
      action={
        onRetry && (
          <Button small icon="restart" onClick={onRetry}>
            {t("act.retry")}
          </Button>
        )
      }
    >
      {failure.hint && (
        <span className="hint">
          <Foreign text={hint(failure.hint)} />
        </span>
      )}
    </Notice>
  );
}

/** A place where nothing is yet: says what will be there, and how. */
export function Empty({
  icon,
  title,
  children,
  action,
}: {
  icon: IconName;
  title: string;
  children?: ReactNode;
  action?: ReactNode;
}) {
  return (
    <div className="empty">
      <Icon name={icon} size={40} />
      <h2>{title}</h2>
      {children && <p>{children}</p>}
      {action && <div className="row">{action}</div>}
    </div>
  );
}

export function Skeleton({ rows = 4 }: { rows?: number }) {
  const { t } = useText();
  return (
    <div className="skeleton-rows" role="status" aria-label={t("state.loading")}>
      {Array.from({ length: rows }, (_, row) => (
        // biome-ignore lint/suspicious/noArrayIndexKey: rows of a skeleton are all the same
        <span key={row} className="skeleton" style={{ width: `${90 - ((row * 17) % 40)}%` }} />
      ))}
    </div>
  );
}

/** A moment, as people say it; in full for those who hover. */
export function When({ at }: { at: string }) {
  const { ago, fullMoment } = useText();
  const now = useNow(30_000);
  return (
    <time dateTime={at} title={fullMoment(at)}>
      {ago(at, Math.max(now, Date.now() - 1000))}
    </time>
  );
}

/** The time, again and again. */
export function useNow(everyMs: number): number {
  const [now, setNow] = useState(Date.now());
  useEffect(() => {
    const timer = setInterval(() => setNow(Date.now()), everyMs);
    return () => clearInterval(timer);
  }, [everyMs]);
  return now;
}

export function Card({
  title,
  action,
  children,
  flush,
}: {
  title?: ReactNode;
  action?: ReactNode;
  children: ReactNode;
  flush?: boolean;
}) {
  const id = useId();
  return (
    <section className="card" aria-labelledby={title ? id : undefined}>
      {title && (
        <header>
          <h2 id={id}>{title}</h2>
          {action}
        </header>
      )}
      {flush ? children : <div className="card-body">{children}</div>}
    </section>
  );
}

export function PageHead({
  title,
  crumb,
  note,
  children,
}: {
  title: ReactNode;
  crumb?: { to: string; name: string };
  note?: ReactNode;
  children?: ReactNode;
}) {
  return (
    <div className="page-head">
      <div>
        {crumb && (
          <Link className="crumb" to={crumb.to}>
            ← {crumb.name}
          </Link>
        )}
        <h1>{title}</h1>
        {note && <p>{note}</p>}
      </div>
      {children && <div className="row">{children}</div>}
    </div>
  );
}

/** How much of something is used. */
export function Meter({
  parts,
  total,
  label,
}: {
  parts: { value: number; kind?: "bad" | "warn" | "other" | "second" | "third" }[];
  total: number;
  label: string;
}) {
  const sum = parts.reduce((sum, part) => sum + part.value, 0);
  return (
    <div className="bar" role="img" aria-label={label} title={label}>
      {parts.map((part, index) => (
        <i
          // biome-ignore lint/suspicious/noArrayIndexKey: parts of a bar have nothing but their place
          key={index}
          className={part.kind}
          style={{ width: `${total > 0 ? (part.value / Math.max(total, sum)) * 100 : 0}%` }}
        />
      ))}
    </div>
  );
}
