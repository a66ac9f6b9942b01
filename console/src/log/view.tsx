/** A log to look at: only the lines in sight are drawn, however many there are. */
import {
  type ReactNode,
  useCallback,
  useEffect,
  useLayoutEffect,
  useMemo,
  useRef,
  useState,
  useSyncExternalStore,
} from "react";
import { useText } from "../i18n";
import { Button } from "../parts/basic";
import { bare, pieces } from "./ansi";
import type { LogModel } from "./model";

const LINE = 20;
const SPARE = 12;
/** How long after a gesture a page still scrolls by it. */
const GESTURE_MS = 1000;

interface LogViewProps {
  model: LogModel;
  label: string;
  /** What is said when nothing was printed yet. */
  empty: string;
  status?: ReactNode;
  tools?: ReactNode;
  hasFailed?: boolean;
  /** Nothing more comes: there is nothing to follow. */
  hasEnded: boolean;
}

export function LogView({ model, label, empty, status, tools, hasFailed, hasEnded }: LogViewProps) {
  const { t, number } = useText();
  useSyncExternalStore(model.subscribe, () => model.version);
  const box = useRef<HTMLDivElement>(null);
  const [top, setTop] = useState(0);
  const [height, setHeight] = useState(600);
  const [isFollowing, setFollowing] = useState(true);
  const [query, setQuery] = useState("");
  const [current, setCurrent] = useState(0);
  const dropped = useRef(model.dropped);
  /** When somebody last did something that scrolls: lines that go move the sight, too. */
  const touched = useRef(Number.NEGATIVE_INFINITY);
  const touch = () => {
    touched.current = performance.now();
  };

  useEffect(() => {
    if (!box.current) return;
    const observer = new ResizeObserver(([entry]) => entry && setHeight(entry.contentRect.height));
    observer.observe(box.current);
    return () => observer.disconnect();
  }, []);

  // After whatever was drawn: the log may have grown again meanwhile.
  useLayoutEffect(() => {
    if (!box.current) return;
    if (isFollowing) box.current.scrollTop = box.current.scrollHeight;
    // What somebody reads stays where it is when older lines go.
    else if (model.dropped !== dropped.current) box.current.scrollTop -= (model.dropped - dropped.current) * LINE;
    dropped.current = model.dropped;
  });

  // biome-ignore lint/correctness/useExhaustiveDependencies: found anew when the log has changed
  const hits = useMemo(() => model.find(query), [model, query, Math.floor(model.count / 500)]);
  const hitSet = useMemo(() => new Set(hits), [hits]);

  const show = useCallback((line: number) => {
    setFollowing(false);
    if (box.current) box.current.scrollTop = Math.max(0, line * LINE - box.current.clientHeight / 2);
  }, []);
  const step = (by: number) => {
    if (hits.length === 0) return;
    const next = (current + by + hits.length) % hits.length;
    setCurrent(next);
    show(hits[next] ?? 0);
  };
  const search = (text: string) => {
    setQuery(text);
    setCurrent(0);
    const [first] = model.find(text, 1);
    if (first !== undefined) show(first);
  };

  const first = Math.max(0, Math.floor(top / LINE) - SPARE);
  const last = Math.min(model.count, Math.ceil((top + height) / LINE) + SPARE);
  const failure = hasFailed ? model.failure() : undefined;

  return (
    <section className="log" aria-label={label}>
      <div className="log-tools">
        <input
          type="search"
          value={query}
          placeholder={t("log.search")}
          aria-label={t("log.search")}
          onChange={(event) => search(event.target.value)}
          onKeyDown={(event) => event.key === "Enter" && step(event.shiftKey ? -1 : 1)}
        />
        {query && (
          <>
            <span role="status">
              {t("log.hits", { at: hits.length === 0 ? 0 : current + 1, count: number(hits.length) })}
            </span>
            <Button small icon="up" label={t("log.previous")} onClick={() => step(-1)} />
            <Button small icon="down" label={t("log.next")} onClick={() => step(1)} />
          </>
        )}
        <span className="grow">{status}</span>
        {failure !== undefined && (
          <Button small icon="warn" onClick={() => show(failure)}>
            {t("log.failure")}
          </Button>
        )}
        {!hasEnded && (
          <span className={isFollowing ? "on" : ""}>
            <Button
              small
              icon="down"
              onClick={() => setFollowing(!isFollowing)}
              label={isFollowing ? t("log.following") : t("log.follow")}
            >
              {isFollowing ? t("log.following") : t("log.follow")}
            </Button>
          </span>
        )}
        {tools}
      </div>
      <div
        className="log-box"
        ref={box}
        // biome-ignore lint/a11y/noNoninteractiveTabindex: whoever has no mouse scrolls with the keys
        tabIndex={0}
        role="log"
        aria-label={label}
        aria-live="off"
        onWheel={touch}
        onTouchMove={touch}
        onKeyDown={touch}
        onPointerDown={touch}
        onPointerMove={(event) => event.buttons > 0 && touch()}
        onScroll={(event) => {
          const { scrollTop, scrollHeight, clientHeight } = event.currentTarget;
          const isByHand = performance.now() - touched.current < GESTURE_MS;
          if (isByHand && scrollTop < top && scrollHeight - scrollTop - clientHeight > LINE * 2) setFollowing(false);
          setTop(scrollTop);
        }}
      >
        <div className="log-all" style={{ height: model.count * LINE }}>
          {model.count === 0 && <div className="log-line">{`   ${empty}`}</div>}
          {Array.from({ length: Math.max(0, last - first) }, (_, offset) => {
            const index = first + offset;
            const line = model.line(index);
            if (!line) return null;
            const names = [
              "log-line",
              line.isError && "err",
              hitSet.has(index) && "hit",
              hits[current] === index && query && "now",
            ];
            return (
              <div
                key={index + model.dropped}
                className={names.filter(Boolean).join(" ")}
                style={{ top: index * LINE }}
              >
                <span className="no" aria-hidden="true">
                  {index + 1 + model.dropped}
                </span>
                {query && hitSet.has(index) ? (
                  <Marked text={bare(line.text)} query={query} />
                ) : (
                  pieces(line.text).map((piece, at) => (
                    // biome-ignore lint/suspicious/noArrayIndexKey: pieces of a line have nothing but their place
                    <span key={at} className={piece.className}>
                      {piece.text}
                    </span>
                  ))
                )}
              </div>
            );
          })}
        </div>
      </div>
    </section>
  );
}

function Marked({ text, query }: { text: string; query: string }) {
  const parts: ReactNode[] = [];
  const lower = text.toLowerCase();
  const wanted = query.toLowerCase();
  let at = 0;
  for (let found = lower.indexOf(wanted); found >= 0 && parts.length < 200; found = lower.indexOf(wanted, at)) {
    parts.push(
      ...plainPieces(text.slice(at, found)),
      <mark key={found}>{text.slice(found, found + wanted.length)}</mark>,
    );
    at = found + wanted.length;
  }
  return (
    <>
      {parts}
      {plainPieces(text.slice(at))}
    </>
  );
}

const plainPieces = (text: string) => pieces(text).map((piece) => piece.text);
