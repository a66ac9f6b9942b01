/** Where something is in Kubernetes, and what else is known of it. */
import type { ReactNode } from "react";
import { Link } from "react-router";
import { useText } from "../../i18n";
import { Card } from "../../parts/basic";
import { paths } from "../../paths";

export function PlaceCard({ at, children }: { at: { namespace: string; cluster: string }; children: ReactNode }) {
  const { t } = useText();
  return (
    <Card title={t("git.about")}>
      <dl className="facts">
        <dt>{t("kube.namespace")}</dt>
        <dd>
          <Link to={paths.namespace(at.namespace)}>{at.namespace}</Link>
        </dd>
        <dt>{t("kube.cluster")}</dt>
        <dd>{at.cluster}</dd>
        {children}
      </dl>
    </Card>
  );
}
