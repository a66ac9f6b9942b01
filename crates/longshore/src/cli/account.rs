//! `longshore account`: people.

use clap::{Args, Subcommand, ValueEnum};
use serde_json::{Value, json};
use wire::accounts::{AccountView, Role};
use wire::names::AccountName;
use wire::quotas::{AccountClass, QuotaLimits, QuotaUpdate, QuotaView};

use super::list::{self, PageArgs, name_of};
use super::password::{PasswordArgs, transformed};
use super::session::Session;
use super::{environment, human, words};

/// Verbs of `longshore account`.
#[derive(Debug, Subcommand)]
pub(crate) enum AccountCommand {
    /// List accounts (admins only)
    #[command(visible_alias = "ls")]
    List {
        #[command(flatten)]
        page: PageArgs,
        /// Only names and nicknames that contain this
        #[arg(long, value_name = "TEXT")]
        search: Option<String>,
    },
    /// Make an account (admins only)
    Create {
        /// Its name: 1 to 31 letters `a-z` and digits
        account: AccountName,
        /// What it may do
        #[arg(long, value_enum, default_value = "user")]
        role: RoleName,
        #[command(flatten)]
        password: PasswordArgs,
    },
    /// Show an account; your own when no name is given
    Show {
        /// Its name
        account: Option<AccountName>,
    },
    /// Change an account's role (admins only)
    Update {
        /// Its name
        account: AccountName,
        /// What it may do
        #[arg(long, value_enum)]
        role: RoleName,
    },
    /// Let an account in that waits for approval (admins only)
    Approve {
        /// Its name
        account: AccountName,
    },
    /// Shut an account out; its things stay (admins only)
    Disable {
        /// Its name
        account: AccountName,
    },
    /// Let an account in again (admins only)
    Enable {
        /// Its name
        account: AccountName,
    },
    /// Change a password; ends the account's other logins
    #[command(
        long_about = "Change a password; ends the account's other logins.\n\nWith `--password-stdin`, your own password \
                            takes two lines: the present one and the new one; another account's (admins only) one line."
    )]
    Password {
        /// Whose; your own when no name is given
        account: Option<AccountName>,
        #[command(flatten)]
        password: PasswordArgs,
    },
    /// Show how much an account's containers may have together, or set it (admins only)
    Quota(QuotaArgs),
    /// Change what is shown of you
    Profile(ProfileArgs),
}

/// What an account may have; what is not said stays as it is.
#[derive(Args, Debug)]
pub(crate) struct QuotaArgs {
    /// Whose; your own when no name is given
    account: Option<AccountName>,
    /// GPUs
    #[arg(long, value_name = "COUNT", requires = "account")]
    gpus: Option<u32>,
    /// Processor time of running containers in cores, such as `16`
    #[arg(long, value_parser = human::parse_cores, requires = "account")]
    cpus: Option<u32>,
    /// Memory of running containers, such as `64g`
    #[arg(long, value_name = "SIZE", value_parser = human::parse_size, requires = "account")]
    memory: Option<u64>,
    /// Containers that run
    #[arg(long, value_name = "COUNT", requires = "account")]
    running: Option<u32>,
    /// What volumes and containers may hold on disks, such as `500g`
    #[arg(long, value_name = "SIZE", value_parser = human::parse_size, requires = "account")]
    disk: Option<u64>,
    /// Who is served before it when GPUs are waited for
    #[arg(long, value_enum, requires = "account")]
    class: Option<ClassName>,
    /// Forget what was set for this account: the server's settings hold again
    #[arg(long, requires = "account")]
    reset: bool,
}

/// A class as it is typed.
#[derive(Clone, Copy, Debug, ValueEnum)]
pub(crate) enum ClassName {
    /// Before all others
    High,
    /// As everybody
    Normal,
    /// After all others
    Low,
}

impl From<ClassName> for AccountClass {
    fn from(class: ClassName) -> Self {
        match class {
            ClassName::High => Self::High,
            ClassName::Normal => Self::Normal,
            ClassName::Low => Self::Low,
        }
    }
}

/// What is shown of an account.
#[derive(Args, Debug)]
#[group(required = true, multiple = true)]
pub(crate) struct ProfileArgs {
    /// The name to show
    #[arg(long)]
    nickname: Option<String>,
    /// Seen by you and admins only
    #[arg(long)]
    email: Option<String>,
    /// Seen by you and admins only
    #[arg(long)]
    phone: Option<String>,
}

/// A role as it is typed.
#[derive(Clone, Copy, Debug, ValueEnum)]
pub(crate) enum RoleName {
    /// Everything, also in the name of other accounts
    Admin,
    /// Its own things, and reading what is public
    User,
}

impl From<RoleName> for Role {
    fn from(role: RoleName) -> Self {
        match role {
            RoleName::Admin => Self::Admin,
            RoleName::User => Self::User,
        }
    }
}

/// Runs a verb.
pub(crate) async fn run(command: AccountCommand, session: &Session) -> anyhow::Result<()> {
    match command {
        AccountCommand::List { page, search } => all(session, &page, search).await,
        AccountCommand::Create { account, role, password } => {
            let password = transformed(&password.read_new(&session.printer)?);
            let body = json!({ "account": account, "password": password, "role": Role::from(role) });
            let answer = session.client.post(&["api", "v1", "accounts"], &body).await?;
            session.done(&answer, words::ACCOUNT_CREATED, &[account.as_str()])
        }
        AccountCommand::Show { account } => show(session, account.as_ref()).await,
        AccountCommand::Update { account, role } => {
            let role = Role::from(role);
            update(
                session,
                &account,
                &json!({ "role": role }),
                words::ROLE_CHANGED,
                &[account.as_str(), &name_of(&role)],
            )
            .await
        }
        AccountCommand::Approve { account } | AccountCommand::Enable { account } => {
            update(
                session,
                &account,
                &json!({ "state": "active" }),
                words::ACCOUNT_ENABLED,
                &[account.as_str()],
            )
            .await
        }
        AccountCommand::Disable { account } => {
            update(
                session,
                &account,
                &json!({ "state": "disabled" }),
                words::ACCOUNT_DISABLED,
                &[account.as_str()],
            )
            .await
        }
        AccountCommand::Password { account, password } => {
            set_password(session, account.as_ref(), password).await
        }
        AccountCommand::Quota(args) => quota(session, args).await,
        AccountCommand::Profile(args) => profile(session, args).await,
    }
}

async fn all(session: &Session, page: &PageArgs, search: Option<String>) -> anyhow::Result<()> {
    let mut query = page.query();
    query.extend(search.map(|text| ("search", text)));
    let answer = session.client.get(&["api", "v1", "accounts"], &query).await?;
    if session.shown_as_json(&answer)? {
        return Ok(());
    }
    let now = environment::now();
    let rows: Vec<_> = list::page::<AccountView>(&session.printer, &answer)?
        .into_iter()
        .map(|account| {
            [
                account.user_id.to_string(),
                account.account.to_string(),
                account.nickname.unwrap_or_default(),
                name_of(&account.role),
                name_of(&account.state),
                human::ago(account.created_at, now, session.printer.language),
            ]
        })
        .collect();
    session.printer.table(["ID", "ACCOUNT", "NICKNAME", "ROLE", "STATE", "CREATED"], &rows)
}

async fn show(session: &Session, account: Option<&AccountName>) -> anyhow::Result<()> {
    let answer = match account {
        Some(account) => session.client.get(&["api", "v1", "accounts", account.as_str()], &[]).await?,
        None => session.client.get(&["api", "v1", "me"], &[]).await?,
    };
    if session.shown_as_json(&answer)? {
        return Ok(());
    }
    show_facts(session, &answer.view()?)
}

/// Shows one account.
pub(crate) fn show_facts(session: &Session, account: &AccountView) -> anyhow::Result<()> {
    let printer = &session.printer;
    printer.facts(&[
        ("account", Some(account.account.to_string())),
        ("id", Some(account.user_id.to_string())),
        ("role", Some(name_of(&account.role))),
        ("state", Some(name_of(&account.state))),
        ("nickname", account.nickname.clone()),
        ("email", account.email.clone()),
        ("phone", account.phone.clone()),
        ("created", Some(human::ago(account.created_at, environment::now(), printer.language))),
        ("server", Some(session.client.server())),
    ])
}

async fn update(
    session: &Session,
    account: &AccountName,
    change: &Value,
    word: words::Word,
    values: &[&str],
) -> anyhow::Result<()> {
    let answer = session.client.patch(&["api", "v1", "accounts", account.as_str()], change).await?;
    session.done(&answer, word, values)
}

async fn set_password(
    session: &Session,
    account: Option<&AccountName>,
    password: PasswordArgs,
) -> anyhow::Result<()> {
    let me: AccountView = session.client.get(&["api", "v1", "me"], &[]).await?.view()?;
    let other = account.filter(|account| **account != me.account);
    let mut body = json!({});
    let whose = if let Some(account) = other {
        let view: AccountView =
            session.client.get(&["api", "v1", "accounts", account.as_str()], &[]).await?.view()?;
        body["new_password"] = transformed(&password.read_new(&session.printer)?).into();
        view
    } else {
        let (present, new) = password.read_change(&session.printer)?;
        body["password"] = transformed(&present).into();
        body["new_password"] = transformed(&new).into();
        me
    };
    body["user_id"] = whose.user_id.0.into();
    let answer = session.client.post(&["api", "user", "set_password"], &body).await?;
    session.done(&answer, words::PASSWORD_CHANGED, &[whose.account.as_str()])
}

async fn profile(session: &Session, args: ProfileArgs) -> anyhow::Result<()> {
    for (field, value) in [("nickname", args.nickname), ("email", args.email), ("phone", args.phone)] {
        let Some(value) = value else { continue };
        let body = json!({ "field": field, "value": value });
        session.client.post(&["api", "user", "set_profile"], &body).await?;
    }
    show(session, None).await
}

async fn quota(session: &Session, args: QuotaArgs) -> anyhow::Result<()> {
    let account = match args.account {
        Some(account) => account,
        None => session.client.get(&["api", "v1", "me"], &[]).await?.view::<AccountView>()?.account,
    };
    let path = ["api", "v1", "accounts", account.as_str(), "quota"];
    let mut answer = session.client.get(&path, &[]).await?;
    let present: QuotaView = answer.view()?;
    let (class, own) = if args.reset {
        (AccountClass::default(), QuotaLimits::default())
    } else {
        (present.class, present.own)
    };
    let wanted = QuotaUpdate {
        class: args.class.map_or(class, AccountClass::from),
        gpus: args.gpus.or(own.gpus),
        cpu_millis: args.cpus.map(u64::from).or(own.cpu_millis),
        memory_bytes: args.memory.or(own.memory_bytes),
        running_containers: args.running.or(own.running_containers),
        disk_bytes: args.disk.or(own.disk_bytes),
    };
    let is_set = args.reset
        || args.class.is_some()
        || args.gpus.or(args.cpus).or(args.running).is_some()
        || args.memory.or(args.disk).is_some();
    if is_set {
        answer = session.client.put(&path, &wanted).await?;
    }
    if session.shown_as_json(&answer)? {
        return Ok(());
    }
    let quota: QuotaView = answer.view()?;
    let (limits, used) = (quota.limits, quota.used);
    let of = |used: String, limit: Option<String>| {
        Some(match limit {
            Some(limit) => format!("{used} of {limit}"),
            None => used,
        })
    };
    let cores = |millis: u64| human::cores(u32::try_from(millis).unwrap_or(u32::MAX));
    let in_pods = match quota.pod_gpus {
        0 => used.gpus.to_string(),
        pods => format!("{} ({pods} in pods)", used.gpus),
    };
    session.printer.facts(&[
        ("account", Some(quota.account.to_string())),
        ("class", Some(name_of(&quota.class))),
        ("gpus", of(in_pods, limits.gpus.map(|count| count.to_string()))),
        ("cpus", of(cores(used.cpu_millis), limits.cpu_millis.map(cores))),
        ("memory", of(human::size(used.memory_bytes), limits.memory_bytes.map(human::size))),
        (
            "running",
            of(used.running_containers.to_string(), limits.running_containers.map(|count| count.to_string())),
        ),
        ("disk", of(human::size(used.disk_bytes), limits.disk_bytes.map(human::size))),
    ])
}
