/** The catalogue: what all chart repositories have, found by words. */
import { useQuery } from "@tanstack/react-query";
import { useEffect, useState } from "react";
import { Link, useSearchParams } from "react-router";
import type { Schemas } from "../../api/client";
import { queries } from "../../api/queries";
import { shellWord } from "../../format";
import { useText } from "../../i18n";
import { Badge, Button, Empty, Foreign, PageHead, Skeleton, Trouble } from "../../parts/basic";
import { CommandLine } from "../../parts/command";
import { SelectField, TextField } from "../../parts/field";
import { paths } from "../../paths";
import { ChartIcon } from "./icon";
import { AddRepo } from "./repos";
import { ChartTabs } from "./tabs";
import { UploadChart } from "./upload";

type Chart = Schemas["ChartView"];

const STEP = 60;
const MOST = 2048;
/** Until somebody has stopped typing. */
const PAUSE_MS = 250;

export function Catalogue() {
  const { t, number } = useText();
  const [search, setSearch] = useSearchParams();
  const [words, setWords] = useState(search.get("q") ?? "");
  const [limit, setLimit] = useState(STEP);
  const [open, setOpen] = useState<"repo" | "upload">();
  const repo = search.get("repo") ?? "";
  const asked = search.get("q") ?? "";
  const repos = useQuery(queries.chartRepos());
  const charts = useQuery(queries.charts({ search: asked || undefined, repo: repo || undefined }, limit));

  useEffect(() => {
    if (words === asked) return;
    const timer = setTimeout(() => {
      setLimit(STEP);
      setSearch(
        (search) => {
          if (words.trim()) search.set("q", words);
          else search.delete("q");
          return search;
        },
        { replace: true },
      );
    }, PAUSE_MS);
    return () => clearTimeout(timer);
  }, [words, asked, setSearch]);

  const add = (
    <Button kind="main" icon="plus" onClick={() => setOpen("repo")}>
      {t("chart.add")}
    </Button>
  );
  const hasNoRepos = repos.data?.total === 0;
  return (
    <>
      <PageHead title={t("nav.charts")} note={t("chart.catalogue_note")}>
        <CommandLine
          command={`longshore chart list ${asked.split(/\s+/).filter(Boolean).map(shellWord).join(" ")}`.trim()}
          request={{ method: "GET", path: `/api/v1/charts${asked ? `?search=${encodeURIComponent(asked)}` : ""}` }}
        />
        <Button icon="upload" onClick={() => setOpen("upload")}>
          {t("chart.upload")}
        </Button>
      </PageHead>
      <ChartTabs />
      {hasNoRepos ? (
        <Empty icon="charts" title={t("chart.empty")} action={add}>
          {t("chart.empty_note")}
        </Empty>
      ) : (
        <>
          <div className="form-row">
            <TextField
              label={t("chart.search")}
              type="search"
              value={words}
              onChange={setWords}
              placeholder={t("chart.search_hint")}
              spellCheck={false}
            />
            <SelectField
              label={t("chart.repo")}
              value={repo}
              onChange={(id) =>
                setSearch((search) => {
                  if (id) search.set("repo", id);
                  else search.delete("repo");
                  return search;
                })
              }
            >
              <option value="">{t("chart.repo_all")}</option>
              {repos.data?.data.map((it) => (
                <option key={it.id} value={it.id}>
                  {it.name}
                </option>
              ))}
            </SelectField>
          </div>
          {charts.isPending && <Skeleton />}
          {charts.error && <Trouble error={charts.error} onRetry={charts.refetch} />}
          {charts.data && (
            <p className="soft small" role="status">
              {t("chart.found", { count: number(charts.data.total) })}
            </p>
          )}
          {charts.data?.total === 0 && (
            <Empty icon="charts" title={asked ? t("chart.none_found") : t("chart.none")}>
              {asked ? t("chart.none_found_note") : t("chart.none_note")}
            </Empty>
          )}
          {charts.data && charts.data.total > 0 && (
            <ul className="catalogue">
              {charts.data.data.map((it) => (
                <li key={`${it.repo_id}/${it.name}`}>
                  <ChartCard chart={it} />
                </li>
              ))}
            </ul>
          )}
          {charts.data && charts.data.total > charts.data.data.length && limit < MOST && (
            <div className="row">
              <Button busy={charts.isFetching} onClick={() => setLimit(Math.min(limit * 2, MOST))}>
                {t("audit.more", {
                  shown: number(charts.data.data.length),
                  total: number(charts.data.total),
                })}
              </Button>
            </div>
          )}
        </>
      )}
      {open === "repo" && <AddRepo onClose={() => setOpen(undefined)} />}
      {open === "upload" && <UploadChart onClose={() => setOpen(undefined)} />}
    </>
  );
}

function ChartCard({ chart: it }: { chart: Chart }) {
  const { t } = useText();
  return (
    <Link className="card chart-card" to={paths.chart(it.repo_id, it.name)}>
      <ChartIcon src={it.icon} />
      <div>
        <strong>
          <Foreign text={it.name} />
        </strong>
        <p className="small soft clamp">
          <Foreign text={it.description} />
        </p>
        <p className="row small soft">
          <span className="mono clip">
            <Foreign text={it.version} />
          </span>
          <span className="clip">
            <Foreign text={it.repo} />
          </span>
          {it.deprecated && <Badge tone="warn">{t("chart.deprecated")}</Badge>}
        </p>
      </div>
    </Link>
  );
}
