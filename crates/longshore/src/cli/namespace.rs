//! `longshore namespace`: an account's rooms in Kubernetes clusters.

use clap::Subcommand;
use wire::names::{ClusterName, NamespaceName};
use wire::namespaces::{
    KubeconfigCreate, KubeconfigCreated, NamespaceCreate, NamespaceEventView, NamespaceQuotaView,
    NamespaceView,
};

use super::list::{self, PageArgs, WhoseArgs, name_of};
use super::session::Session;
use super::{environment, human, words};

/// Which kubeconfig. Also `longshore kubeconfig`.
#[derive(clap::Args, Clone, Debug)]
pub(crate) struct KubeconfigArgs {
    /// The namespace: its name, with or without the account, or its id
    namespace: String,
    /// How long it is good, such as `30m` or `8h` [default: `1h`]
    #[arg(long, value_name = "TIME", value_parser = human::parse_duration)]
    expires_in: Option<u64>,
}

/// Verbs of `longshore namespace`.
#[derive(Debug, Subcommand)]
pub(crate) enum NamespaceCommand {
    /// Make a namespace; the cluster knows it as `ACCOUNT-NAME`
    Create {
        /// Its name, without the account
        name: NamespaceName,
        /// In this cluster [default: the default one]
        #[arg(long, value_name = "CLUSTER")]
        cluster: Option<ClusterName>,
    },
    /// List namespaces
    #[command(visible_alias = "ls")]
    List {
        #[command(flatten)]
        whose: WhoseArgs,
        /// Only of this cluster
        #[arg(long, value_name = "CLUSTER")]
        cluster: Option<ClusterName>,
        #[command(flatten)]
        page: PageArgs,
    },
    /// Show a namespace
    Show {
        /// Its name, with or without the account, or its id
        namespace: String,
    },
    /// Show how much there may be in a namespace, and is
    Quota {
        /// Its name, with or without the account, or its id
        namespace: String,
    },
    /// Show what happened in a namespace of late, newest first
    Events {
        /// Its name, with or without the account, or its id
        namespace: String,
    },
    /// Print a kubeconfig for your own kubectl, good for a while and in this namespace alone
    Kubeconfig(KubeconfigArgs),
    /// Delete a namespace and everything in it
    #[command(alias = "rm")]
    Delete {
        /// Its name, with or without the account, or its id
        namespace: String,
        /// Do not ask
        #[arg(long, short)]
        yes: bool,
    },
}

/// Runs a verb.
pub(crate) async fn run(command: NamespaceCommand, session: &Session) -> anyhow::Result<()> {
    match command {
        NamespaceCommand::Create { name, cluster } => {
            let new = NamespaceCreate { name, cluster, account: None };
            let answer = session.client.post(&["api", "v1", "namespaces"], &new).await?;
            if session.shown_as_json(&answer)? {
                return Ok(());
            }
            let made: NamespaceView = answer.view()?;
            session.printer.say(words::NAMESPACE_CREATED, &[made.name.as_str(), made.cluster.as_str()]);
            Ok(())
        }
        NamespaceCommand::Quota { namespace } => {
            let answer = session.client.get(&["api", "v1", "namespaces", &namespace, "quota"], &[]).await?;
            if session.shown_as_json(&answer)? {
                return Ok(());
            }
            let quota: Vec<NamespaceQuotaView> = answer.view()?;
            let rows: Vec<_> = quota.into_iter().map(|it| [it.resource, it.used, it.limit]).collect();
            session.printer.table(["RESOURCE", "USED", "LIMIT"], &rows)
        }
        NamespaceCommand::Events { namespace } => {
            let answer = session.client.get(&["api", "v1", "namespaces", &namespace, "events"], &[]).await?;
            if session.shown_as_json(&answer)? {
                return Ok(());
            }
            let events: Vec<NamespaceEventView> = answer.view()?;
            let row = |it: NamespaceEventView| {
                let kind = if it.is_warning { "warning" } else { "normal" };
                let what = format!("{}/{}", it.kind.to_lowercase(), it.name);
                [it.at.unwrap_or_default(), kind.to_owned(), it.reason, what, it.message]
            };
            let rows: Vec<_> = events.into_iter().map(row).collect();
            session.printer.table(["WHEN", "TYPE", "REASON", "OBJECT", "MESSAGE"], &rows)
        }
        NamespaceCommand::List { whose, cluster, page } => {
            let mut query = whose.query(&page);
            if let Some(cluster) = cluster {
                query.push(("cluster", cluster.to_string()));
            }
            let answer = session.client.get(&["api", "v1", "namespaces"], &query).await?;
            if session.shown_as_json(&answer)? {
                return Ok(());
            }
            let namespaces = list::page::<NamespaceView>(&session.printer, &answer)?;
            let rows: Vec<_> = namespaces.iter().map(|namespace| row(session, namespace)).collect();
            session.printer.table(["NAME", "CLUSTER", "ACCOUNT", "STATE", "CREATED"], &rows)
        }
        NamespaceCommand::Show { namespace } => {
            let answer = session.client.get(&["api", "v1", "namespaces", &namespace], &[]).await?;
            if session.shown_as_json(&answer)? {
                return Ok(());
            }
            show(session, &answer.view()?)
        }
        NamespaceCommand::Kubeconfig(args) => kubeconfig(session, args).await,
        NamespaceCommand::Delete { namespace, yes } => {
            session.ask(yes, words::NAMESPACE_DELETE_ASK, &[&namespace])?;
            let answer = session.client.delete(&["api", "v1", "namespaces", &namespace]).await?;
            let is_gone = answer.text.is_empty();
            if session.shown_as_json(&answer)? {
                return Ok(());
            }
            if is_gone {
                session.printer.say(words::NAMESPACE_DELETED, &[&namespace]);
                return Ok(());
            }
            let left: NamespaceView = answer.view()?;
            let message = left.message.unwrap_or_default();
            session.printer.say(words::NAMESPACE_DELETING, &[&namespace, &message]);
            Ok(())
        }
    }
}

/// Prints a kubeconfig.
pub(crate) async fn kubeconfig(session: &Session, args: KubeconfigArgs) -> anyhow::Result<()> {
    let path = ["api", "v1", "namespaces", &args.namespace, "kubeconfig"];
    let answer = session.client.post(&path, &KubeconfigCreate { expires_in: args.expires_in }).await?;
    if session.shown_as_json(&answer)? {
        return Ok(());
    }
    session.printer.data(&answer.view::<KubeconfigCreated>()?.kubeconfig)
}

fn row(session: &Session, namespace: &NamespaceView) -> [String; 5] {
    [
        namespace.name.to_string(),
        namespace.cluster.to_string(),
        namespace.account.to_string(),
        name_of(&namespace.state),
        human::ago(namespace.created_at, environment::now(), session.printer.language),
    ]
}

fn show(session: &Session, namespace: &NamespaceView) -> anyhow::Result<()> {
    let ago = |time| human::ago(time, environment::now(), session.printer.language);
    session.printer.facts(&[
        ("id", Some(namespace.id.to_string())),
        ("name", Some(namespace.name.to_string())),
        ("cluster", Some(namespace.cluster.to_string())),
        ("account", Some(namespace.account.to_string())),
        ("state", Some(format!("{} ({})", name_of(&namespace.state), ago(namespace.state_since)))),
        ("problem", namespace.message.clone()),
        ("created", Some(ago(namespace.created_at))),
    ])
}
