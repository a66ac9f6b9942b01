//! `longshore cluster`: Kubernetes clusters.

use std::path::{Path, PathBuf};

use anyhow::Context as _;
use base64::Engine as _;
use clap::Subcommand;
use serde_json::Value;
use server::clients::kube::role::ROLE;
use wire::clusters::{ClusterCreate, ClusterUpdate, ClusterView, NodeView};
use wire::names::ClusterName;
use wire::secret::Secret;

use super::failure::Failure;
use super::list::{self, PageArgs, name_of};
use super::printer::Printer;
use super::session::Session;
use super::{environment, human, words};

/// Verbs of `longshore cluster`.
#[derive(Debug, Subcommand)]
pub(crate) enum ClusterCommand {
    /// Add a cluster (admins)
    Add {
        /// What to call it
        name: ClusterName,
        /// Its kubeconfig; files that it names are sent with it
        #[arg(long, value_name = "FILE", required_unless_present = "in_cluster")]
        kubeconfig: Option<PathBuf>,
        /// Which context of the kubeconfig [default: its current one]
        #[arg(long, value_name = "CONTEXT", requires = "kubeconfig")]
        context: Option<String>,
        /// The cluster in which the server itself runs
        #[arg(long, conflicts_with = "kubeconfig")]
        in_cluster: bool,
        /// Make namespaces there when nobody names a cluster
        #[arg(long)]
        default: bool,
        /// Addresses of its pods, such as `10.244.0.0/16` [default: what its nodes say]
        #[arg(long, value_name = "RANGE")]
        pod_range: Vec<String>,
    },
    /// List clusters
    #[command(visible_alias = "ls")]
    List {
        #[command(flatten)]
        page: PageArgs,
    },
    /// Show a cluster and its nodes
    Show {
        /// Its name
        name: ClusterName,
    },
    /// Use another kubeconfig for a cluster, when its credentials or its address have changed (admins)
    Renew {
        /// Its name
        name: ClusterName,
        /// The new kubeconfig; files that it names are sent with it
        #[arg(long, value_name = "FILE")]
        kubeconfig: PathBuf,
        /// Which context of the kubeconfig [default: its current one]
        #[arg(long, value_name = "CONTEXT")]
        context: Option<String>,
    },
    /// Make a cluster the default one (admins)
    Default {
        /// Its name
        name: ClusterName,
    },
    /// List the nodes of all clusters
    Nodes,
    /// Forget a cluster in which no namespace is left (admins)
    #[command(aliases = ["rm", "delete"])]
    Remove {
        /// Its name
        name: ClusterName,
    },
    /// Print what a cluster has to allow Longshore, for `kubectl apply -f -`
    Role,
}

/// Runs a verb.
pub(crate) async fn run(command: ClusterCommand, session: &Session) -> anyhow::Result<()> {
    match command {
        ClusterCommand::Add { name, kubeconfig, context, in_cluster, default, pod_range } => {
            let kubeconfig = kubeconfig.map(|file| portable(&file)).transpose()?;
            let new = ClusterCreate {
                name: name.clone(),
                kubeconfig,
                context,
                in_cluster,
                pod_ranges: pod_range,
                is_default: default,
            };
            let answer = session.client.post(&["api", "v1", "clusters"], &new).await?;
            session.done(&answer, words::CLUSTER_ADDED, &[name.as_str()])
        }
        ClusterCommand::List { page } => {
            let answer = session.client.get(&["api", "v1", "clusters"], &page.query()).await?;
            if session.shown_as_json(&answer)? {
                return Ok(());
            }
            let clusters = list::page::<ClusterView>(&session.printer, &answer)?;
            let rows: Vec<_> = clusters.iter().map(|cluster| row(session, cluster)).collect();
            session.printer.table(["NAME", "STATE", "SINCE", "VERSION", "DEFAULT"], &rows)
        }
        ClusterCommand::Show { name } => show(session, &name).await,
        ClusterCommand::Renew { name, kubeconfig, context } => {
            let kubeconfig = Some(portable(&kubeconfig)?);
            let change = ClusterUpdate { kubeconfig, context, is_default: None };
            let answer = session.client.patch(&["api", "v1", "clusters", name.as_str()], &change).await?;
            session.done(&answer, words::CLUSTER_RENEWED, &[name.as_str()])
        }
        ClusterCommand::Default { name } => {
            let change = ClusterUpdate { is_default: Some(true), ..ClusterUpdate::default() };
            let answer = session.client.patch(&["api", "v1", "clusters", name.as_str()], &change).await?;
            session.done(&answer, words::CLUSTER_DEFAULT, &[name.as_str()])
        }
        ClusterCommand::Nodes => {
            let answer = session.client.get(&["api", "v1", "nodes"], &[]).await?;
            if session.shown_as_json(&answer)? {
                return Ok(());
            }
            nodes(session, &answer.view::<Vec<NodeView>>()?)
        }
        ClusterCommand::Remove { name } => {
            let answer = session.client.delete(&["api", "v1", "clusters", name.as_str()]).await?;
            session.done(&answer, words::CLUSTER_REMOVED, &[name.as_str()])
        }
        ClusterCommand::Role => role(&session.printer),
    }
}

/// Needs no server.
pub(crate) fn role(printer: &Printer) -> anyhow::Result<()> {
    if printer.is_json {
        return printer.json(&serde_json::json!({ "yaml": ROLE }).to_string());
    }
    printer.raw(ROLE.as_bytes())
}

async fn show(session: &Session, name: &ClusterName) -> anyhow::Result<()> {
    let answer = session.client.get(&["api", "v1", "clusters", name.as_str()], &[]).await?;
    if session.shown_as_json(&answer)? {
        return Ok(());
    }
    let cluster: ClusterView = answer.view()?;
    let since = human::ago(cluster.state_since, environment::now(), session.printer.language);
    let ranges = (!cluster.pod_ranges.is_empty()).then(|| cluster.pod_ranges.join(", "));
    session.printer.facts(&[
        ("name", Some(cluster.name.to_string())),
        ("state", Some(format!("{} ({since})", name_of(&cluster.state)))),
        ("problem", cluster.message),
        ("version", cluster.version),
        ("server", cluster.server),
        ("default", Some(if cluster.is_default { "yes" } else { "no" }.to_owned())),
        ("pods", ranges),
    ])?;
    let query = [("cluster", name.to_string())];
    let answer = session.client.get(&["api", "v1", "nodes"], &query).await?;
    nodes(session, &answer.view::<Vec<NodeView>>()?)
}

fn row(session: &Session, cluster: &ClusterView) -> [String; 5] {
    [
        cluster.name.to_string(),
        name_of(&cluster.state),
        human::ago(cluster.state_since, environment::now(), session.printer.language),
        cluster.version.clone().unwrap_or_default(),
        if cluster.is_default { "yes" } else { "" }.to_owned(),
    ]
}

fn nodes(session: &Session, nodes: &[NodeView]) -> anyhow::Result<()> {
    let rows: Vec<_> = nodes
        .iter()
        .map(|node| {
            let status =
                if node.is_schedulable { node.status.clone() } else { format!("{}, drained", node.status) };
            let gpus: Vec<_> = node
                .gpus
                .iter()
                .map(|(name, count)| match node.gpus_used.get(name) {
                    Some(used) => format!("{used} of {count} {name}"),
                    None => format!("{count} {name}"),
                })
                .collect();
            [
                node.cluster.to_string(),
                node.name.clone(),
                status,
                format!("{}.{}", node.cpu_millis / 1_000, node.cpu_millis % 1_000 / 100),
                human::size(node.memory_bytes),
                node.pods.to_string(),
                gpus.join(", "),
            ]
        })
        .collect();
    session.printer.table(["CLUSTER", "NODE", "STATUS", "CORES", "MEMORY", "PODS", "GPUS"], &rows)
}

/// A kubeconfig with the content of the files that it names, since the server is not to read files by name.
fn portable(file: &Path) -> anyhow::Result<Secret> {
    let text = std::fs::read_to_string(file)
        .with_context(|| format!("cannot read the kubeconfig `{}`", file.display()))?;
    let mut config: Value = serde_saphyr::from_str(&text)
        .map_err(|error| Failure::usage(format!("`{}` is no kubeconfig: {error}", file.display())))?;
    if !config.is_object() {
        return Err(Failure::usage(format!("`{}` is no kubeconfig", file.display())).into());
    }
    let folder = file.parent().unwrap_or(Path::new("."));
    for (list, inner, keys) in [
        ("clusters", "cluster", &[("certificate-authority", "certificate-authority-data")][..]),
        (
            "users",
            "user",
            &[
                ("client-certificate", "client-certificate-data"),
                ("client-key", "client-key-data"),
                ("tokenFile", "token"),
            ],
        ),
    ] {
        for entry in config[list].as_array_mut().into_iter().flatten() {
            let Some(object) = entry[inner].as_object_mut() else { continue };
            for (from, to) in keys {
                let Some(Value::String(path)) = object.remove(*from) else { continue };
                let path = folder.join(path);
                let content = std::fs::read(&path).with_context(|| {
                    format!("cannot read `{}`, which the kubeconfig names", path.display())
                })?;
                let content = if *to == "token" {
                    String::from_utf8(content)
                        .context("the kubeconfig's token is not text")?
                        .trim()
                        .to_owned()
                } else {
                    base64::engine::general_purpose::STANDARD.encode(content)
                };
                object.insert((*to).to_owned(), content.into());
            }
        }
    }
    Ok(Secret::new(config.to_string()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_that_a_kubeconfig_names_are_sent_with_it() {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("ca.crt"), "the authority").unwrap();
        std::fs::write(folder.path().join("token"), "the token\n").unwrap();
        let file = folder.path().join("config");
        let text = "clusters: [{name: c, cluster: {server: 'https://a', certificate-authority: ca.crt}}]\n\
                    users: [{name: u, user: {tokenFile: token}}]\n";
        std::fs::write(&file, text).unwrap();

        let sent: Value = serde_json::from_str(portable(&file).unwrap().expose()).unwrap();

        assert_eq!(sent["clusters"][0]["cluster"]["certificate-authority-data"], "dGhlIGF1dGhvcml0eQ==");
        assert!(sent["clusters"][0]["cluster"]["certificate-authority"].is_null());
        assert_eq!(sent["users"][0]["user"]["token"], "the token");
    }
}
