/** The parts of the charts area, above each of them. */
import { NavLink } from "react-router";
import { type Key, useText } from "../../i18n";
import { paths } from "../../paths";

const parts: { to: string; name: Key }[] = [
  { to: paths.charts, name: "chart.catalogue" },
  { to: paths.releases, name: "release.title" },
  { to: paths.chartRepos, name: "chart.repos" },
];

export function ChartTabs() {
  const { t } = useText();
  return (
    <nav className="tabs" aria-label={t("nav.charts")}>
      {parts.map(({ to, name }) => (
        <NavLink key={to} to={to} end>
          {t(name)}
        </NavLink>
      ))}
    </nav>
  );
}
