/** Tables: sorted and filtered, with their state in the address; rows come as they are scrolled to. */
import { type ReactNode, useEffect, useMemo, useRef, useState } from "react";
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

const STEP = 100;

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

  const shown = useMemo(() => {
    const wanted = query.trim().toLowerCase();
    const found = wanted && text ? rows.filter((row) => text(row).toLowerCase().includes(wanted)) : rows;
    const by = columns.find((column) => column.id === sort.replace(/^-/, ""))?.sort;
    if (!by) return found;
    const turn = sort.startsWith("-") ? -1 : 1;
    const compare = new Intl.Collator(language, { numeric: true }).compare;
    return found.toSorted((left, right) => {
      const [a, b] = [by(left), by(right)];
      return turn * (typeof a === "number" && typeof b === "number" ? a - b : compare(String(a), String(b)));
    });
  }, [rows, columns, query, sort, text, language]);

  const [most, setMost] = useState(STEP);
  const end = useRef<HTMLDivElement>(null);
  useEffect(() => {
    if (!end.current || most >= shown.length) return;
    const observer = new IntersectionObserver(
      (entries) => {
        if (entries.some((entry) => entry.isIntersecting)) setMost((most) => most + STEP);
      },
      { rootMargin: "600px" },
    );
    observer.observe(end.current);
    return () => observer.disconnect();
  }, [most, shown.length]);

  return (
    <>
      {(text || tools) && (
        <div className="row table-tools">
          {text && (
            <input
              className="input grow"
              type="search"
              value={query}
              placeholder={t("table.filter")}
              aria-label={t("table.filter")}
              onChange={(event) => change("q", event.target.value)}
            />
          )}
          {tools}
        </div>
      )}
      <div className="table-box">
        <table className="table stacking" aria-label={label}>
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
          <tbody>
            {shown.slice(0, most).map((row) => (
              <tr key={rowKey(row)}>
                {columns.map(({ id, cell, className }) => (
                  <td key={id} className={className}>
                    {cell(row)}
                  </td>
                ))}
              </tr>
            ))}
          </tbody>
        </table>
        <div ref={end} />
      </div>
      {shown.length === 0 && query && (
        <p className="table-none soft">
          {t("table.none", { query })}{" "}
          <Button small kind="quiet" onClick={() => change("q", "")}>
            {t("table.all")}
          </Button>
        </p>
      )}
    </>
  );
}
