/** Tables: sorted and filtered, with their state in the address; only rows near the part in sight are drawn. */
import {
  type ReactNode,
  useDeferredValue,
  useEffect,
  useEffectEvent,
  useLayoutEffect,
  useMemo,
  useRef,
  useState,
} from "react";
import { useSearchParams } from "react-router";
import { useText } from "../i18n";
import { Button } from "./basic";
import { Icon } from "./icons";

export interface Column<Row> {
  id: string;
  title: string;
  cell: (row: Row) => ReactNode;
  /** What it is sorted by; not sortable when absent. */
  sort?: (row: Row) => string | number;
  className?: string;
}

interface TableProps<Row> {
  label: string;
  rows: Row[];
  columns: Column<Row>[];
  rowKey: (row: Row) => string | number;
  /** What of a row is searched; no filter when absent. */
  text?: (row: Row) => string;
  /** Shown beside the filter. */
  tools?: ReactNode;
  /** Sorted by this at first; `-` before it turns the order. */
  order?: string;
}

const CHUNK = 50;
/** Until the address follows what is typed. */
const PAUSE_MS = 200;
/** Until a row was measured. */
const ROW_HEIGHT = 56;

export function Table<Row>({ label, rows, columns, rowKey, text, tools, order = "" }: TableProps<Row>) {
  const { t, language } = useText();
  const [search, setSearch] = useSearchParams();
  const sort = search.get("sort") ?? order;
  const query = search.get("q") ?? "";
  const change = (name: string, value: string) =>
    setSearch(
      (search) => {
        if (value) search.set(name, value);
        else search.delete(name);
        return search;
      },
      { replace: true },
    );

  // What is typed shows at once; the address and the rows follow.
  const [typed, setTyped] = useState(query);
  const [written, setWritten] = useState(query);
  if (query !== written) {
    setWritten(query);
    setTyped(query);
  }
  const write = useEffectEvent((text: string) => {
    if (text === query) return;
    setWritten(text);
    change("q", text);
  });
  useEffect(() => {
    const timer = setTimeout(() => write(typed), PAUSE_MS);
    return () => clearTimeout(timer);
  }, [typed]);
  const wanted = useDeferredValue(typed.trim().toLowerCase());

  const sorted = useMemo(() => {
    const by = columns.find((column) => column.id === sort.replace(/^-/, ""))?.sort;
    if (!by) return rows;
    const turn = sort.startsWith("-") ? -1 : 1;
    const compare = new Intl.Collator(language, { numeric: true }).compare;
    const keyed = rows.map((row) => ({ row, key: by(row) }));
    keyed.sort(
      ({ key: a }, { key: b }) =>
        turn * (typeof a === "number" && typeof b === "number" ? a - b : compare(String(a), String(b))),
    );
    return keyed.map(({ row }) => row);
  }, [rows, columns, sort, language]);
  const shown = useMemo(
    () => (wanted && text ? sorted.filter((row) => text(row).toLowerCase().includes(wanted)) : sorted),
    [sorted, wanted, text],
  );

  const [rowHeight, setRowHeight] = useState(ROW_HEIGHT);
  const chunks = useMemo(() => {
    const chunks: Row[][] = [];
    for (let at = 0; at < shown.length; at += CHUNK) chunks.push(shown.slice(at, at + CHUNK));
    return chunks;
  }, [shown]);

  return (
    <>
      {(text || tools) && (
        <div className="row table-tools">
          {text && (
            <input
              className="input grow"
              type="search"
              value={typed}
              placeholder={t("table.filter")}
              aria-label={t("table.filter")}
              onChange={(event) => setTyped(event.target.value)}
            />
          )}
          {tools}
        </div>
      )}
      <div className="table-box">
        <table className="table stacking" aria-label={label} aria-rowcount={shown.length + 1}>
          <thead>
            <tr>
              {columns.map(({ id, title, sort: by, className }) => {
                const direction = sort === id ? "ascending" : sort === `-${id}` ? "descending" : undefined;
                return (
                  <th key={id} className={className} aria-sort={direction} scope="col">
                    {by ? (
                      <button type="button" onClick={() => change("sort", sort === id ? `-${id}` : id)}>
                        {title}
                        {direction && <Icon name={direction === "ascending" ? "up" : "down"} size={12} />}
                      </button>
                    ) : title ? (
                      title
                    ) : (
                      <span className="visually-hidden">{t("table.actions")}</span>
                    )}
                  </th>
                );
              })}
            </tr>
          </thead>
          {chunks.map((rows, index) => (
            <Chunk
              // biome-ignore lint/suspicious/noArrayIndexKey: the first rows, the next rows and so on, whatever they are
              key={index}
              isFirst={index === 0}
              rows={rows}
              columns={columns}
              rowKey={rowKey}
              rowHeight={rowHeight}
              onMeasure={setRowHeight}
            />
          ))}
        </table>
      </div>
      {shown.length === 0 && wanted && (
        <p className="table-none soft">
          {t("table.none", { query: typed })}{" "}
          <Button small kind="quiet" onClick={() => setTyped("")}>
            {t("table.all")}
          </Button>
        </p>
      )}
    </>
  );
}

interface ChunkProps<Row> {
  isFirst: boolean;
  rows: Row[];
  columns: Column<Row>[];
  rowKey: (row: Row) => string | number;
  rowHeight: number;
  onMeasure: (rowHeight: number) => void;
}

/** Some rows after each other; as high as they are, and nothing else, while they are far away. */
function Chunk<Row>({ isFirst, rows, columns, rowKey, rowHeight, onMeasure }: ChunkProps<Row>) {
  const body = useRef<HTMLTableSectionElement>(null);
  const [isNear, setNear] = useState(isFirst);
  const [height, setHeight] = useState<number>();

  useEffect(() => {
    const element = body.current;
    if (!element) return;
    const observer = new IntersectionObserver(
      (entries) => {
        const last = entries.at(-1);
        if (!last) return;
        if (!last.isIntersecting && last.boundingClientRect.height > 0) setHeight(last.boundingClientRect.height);
        setNear(last.isIntersecting);
      },
      { rootMargin: "800px" },
    );
    observer.observe(element);
    return () => observer.disconnect();
  }, []);

  useLayoutEffect(() => {
    if (isFirst && isNear && body.current && rows.length > 0)
      onMeasure(Math.round(body.current.getBoundingClientRect().height / rows.length) || ROW_HEIGHT);
  }, [isFirst, isNear, rows.length, onMeasure]);

  if (!isNear)
    return (
      <tbody ref={body} aria-hidden="true">
        <tr className="far">
          <td colSpan={columns.length} style={{ height: height ?? rows.length * rowHeight }} />
        </tr>
      </tbody>
    );
  return (
    <tbody ref={body}>
      {rows.map((row) => (
        <tr key={rowKey(row)}>
          {columns.map(({ id, cell, className }) => (
            <td key={id} className={className}>
              {cell(row)}
            </td>
          ))}
        </tr>
      ))}
    </tbody>
  );
}
