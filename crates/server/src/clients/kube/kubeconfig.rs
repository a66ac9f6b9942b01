//! What opens a cluster, taken out of a kubeconfig. A kubeconfig can name programs to run and files to read: those would be
//! this server's, so they are refused, and what is kept is written anew from what was understood.

use std::path::{Path, PathBuf};

use base64::Engine as _;
use kube::config::{
    AuthInfo, Cluster, Config, Context, KubeConfigOptions, Kubeconfig, NamedAuthInfo, NamedCluster,
    NamedContext,
};
use tokio::io::AsyncReadExt as _;
use wire::clusters::KUBECONFIG_BYTES_MAX;
use wire::names::NamespaceName;
use wire::secret::Secret;

use super::{Failure, OWN_NAME};
use crate::error::{Error, Result};

/// The one name that everything has in what we keep.
const NAME: &str = "longshore";

/// Largest file of an authority that is read.
const AUTHORITY_BYTES_MAX: u64 = 256 << 10;

/// What opens a cluster.
#[derive(Debug)]
pub struct Access {
    /// Its API server's address.
    pub server: String,
    /// The rest, as text to seal.
    pub credentials: Secret,
}

/// Takes what opens one context's cluster out of a kubeconfig.
pub fn read(text: &Secret, context: Option<&str>) -> Result<Access> {
    let wrong = |detail: String| Error::invalid("kubeconfig", detail);
    if text.expose().len() > KUBECONFIG_BYTES_MAX {
        return Err(wrong(format!("the kubeconfig has more than {} KiB", KUBECONFIG_BYTES_MAX >> 10)));
    }
    let mut config = Kubeconfig::from_yaml(text.expose())
        .map_err(|error| wrong(format!("the kubeconfig cannot be read: {error}")))?;
    let wanted = match context.map(str::to_owned).or_else(|| config.current_context.take()) {
        Some(wanted) if !wanted.is_empty() => wanted,
        _ => {
            let names: Vec<_> = config.contexts.iter().map(|context| format!("`{}`", context.name)).collect();
            if names.is_empty() {
                let detail = "the kubeconfig names no context, so that nothing says which cluster is meant";
                return Err(wrong(detail.to_owned())
                    .hint("take all that `kubectl config view --flatten --minify` shows"));
            }
            let detail = "the kubeconfig has no current context".to_owned();
            return Err(wrong(detail).hint(format!("name one of its contexts: {}", names.join(", "))));
        }
    };
    let context = config.contexts.iter().find(|context| context.name == wanted);
    let context = context.and_then(|context| context.context.as_ref()).ok_or_else(|| {
        Error::invalid("context", format!("the kubeconfig has no context `{}`", wanted.escape_debug()))
    })?;
    let cluster = config.clusters.iter().find(|cluster| cluster.name == context.cluster);
    let cluster = cluster
        .and_then(|cluster| cluster.cluster.as_ref())
        .ok_or_else(|| wrong("the context's cluster is missing in the kubeconfig".to_owned()))?;
    let user = config.auth_infos.iter().find(|user| Some(&user.name) == context.user.as_ref());
    let user = user
        .and_then(|user| user.auth_info.as_ref())
        .ok_or_else(|| wrong("the context's user is missing in the kubeconfig".to_owned()))?;
    let server = checked_server(cluster)?;
    let kept = Kubeconfig {
        clusters: vec![NamedCluster {
            name: NAME.to_owned(),
            cluster: Some(Cluster {
                server: Some(server.clone()),
                certificate_authority_data: cluster.certificate_authority_data.clone(),
                tls_server_name: cluster.tls_server_name.clone(),
                ..Cluster::default()
            }),
            ..NamedCluster::default()
        }],
        auth_infos: vec![NamedAuthInfo {
            name: NAME.to_owned(),
            auth_info: Some(checked_user(user)?),
            ..NamedAuthInfo::default()
        }],
        contexts: vec![NamedContext {
            name: NAME.to_owned(),
            context: Some(Context {
                cluster: NAME.to_owned(),
                user: Some(NAME.to_owned()),
                ..Context::default()
            }),
            ..NamedContext::default()
        }],
        current_context: Some(NAME.to_owned()),
        ..Kubeconfig::default()
    };
    let text = serde_json::to_string(&kept).map_err(Error::internal)?;
    Ok(Access { server, credentials: Secret::new(text) })
}

fn checked_server(cluster: &Cluster) -> Result<String> {
    let wrong = |detail: &str| Error::invalid("kubeconfig", detail);
    let hint = "`longshore cluster add` puts files into what it sends";
    if cluster.certificate_authority.is_some() {
        return Err(wrong(
            "the kubeconfig names a file (`certificate-authority`), which would be this server's",
        )
        .hint(hint));
    }
    if cluster.insecure_skip_tls_verify == Some(true) {
        return Err(wrong("the kubeconfig says that its server's certificate is not to be checked: whoever stands between could then use our credentials")
            .hint("give the cluster's authority as `certificate-authority-data`"));
    }
    if cluster.proxy_url.is_some() {
        return Err(wrong("the kubeconfig names a proxy (`proxy-url`), which is not supported"));
    }
    let server = cluster.server.as_deref().unwrap_or_default();
    if !is_server(server) {
        return Err(wrong("the cluster's `server` must be an address that begins with `https://`"));
    }
    Ok(server.to_owned())
}

/// Whether this can be an API server's address.
pub fn is_server(text: &str) -> bool {
    let is_valid = text.parse::<http::Uri>().is_ok_and(|uri| {
        uri.scheme_str() == Some("https")
            && uri.authority().is_some_and(|authority| !authority.as_str().contains('@'))
            && uri.query().is_none()
    });
    is_valid && text.len() <= 300
}

fn checked_user(user: &AuthInfo) -> Result<AuthInfo> {
    let wrong = |detail: &str| Error::invalid("kubeconfig", detail);
    if user.exec.is_some() || user.auth_provider.is_some() {
        return Err(wrong(
            "the kubeconfig names a program that fetches credentials, which would run on this server",
        )
        .hint(
            "make a service account for Longshore and use its token: `longshore cluster role` prints how",
        ));
    }
    if user.token_file.is_some() || user.client_certificate.is_some() || user.client_key.is_some() {
        return Err(wrong("the kubeconfig names files of credentials, which would be this server's")
            .hint("`longshore cluster add` puts files into what it sends"));
    }
    let acts_as_another = user.impersonate.is_some()
        || user.impersonate_uid.is_some()
        || user.impersonate_groups.is_some()
        || user.impersonate_user_extra.is_some();
    if acts_as_another {
        return Err(wrong(
            "the kubeconfig's user acts as another one, which cannot be combined with acting for accounts",
        ));
    }
    let has_certificate = user.client_certificate_data.is_some() && user.client_key_data.is_some();
    if user.token.is_none() && !has_certificate {
        return Err(wrong("the kubeconfig's user has neither a token nor a certificate with its key"));
    }
    Ok(AuthInfo {
        token: user.token.clone(),
        client_certificate_data: user.client_certificate_data.clone(),
        client_key_data: user.client_key_data.clone(),
        ..AuthInfo::default()
    })
}

/// The way to a cluster, without what opens it.
#[derive(Debug)]
pub struct Way {
    server: String,
    /// Base64 of the certificates by which it is known; the system's own when there are none.
    authority: Option<String>,
    tls_server_name: Option<String>,
}

impl Way {
    /// The way that [`read`] kept.
    pub fn of(access: &Secret) -> Result<Self> {
        let kept: Kubeconfig = serde_json::from_str(access.expose()).map_err(Error::internal)?;
        let cluster =
            kept.clusters.into_iter().next().and_then(|cluster| cluster.cluster).unwrap_or_default();
        Ok(Self {
            server: cluster.server.unwrap_or_default(),
            authority: cluster.certificate_authority_data,
            tls_server_name: cluster.tls_server_name,
        })
    }

    /// The way from outside to the cluster around us, by an address that an admin has set.
    pub async fn from_outside(server: &str, authority: Option<&Path>) -> Result<Self> {
        let file = authority.map_or_else(|| own_file("ca.crt"), Path::to_path_buf);
        let wrong = |what: String| {
            let detail =
                format!("the authority of `{server}` cannot be read from `{}`: {what}", file.display());
            Error::unavailable("no_public_authority", detail)
                .hint("an admin sets `kubernetes.public_authority` to a file of certificates (PEM)")
        };
        let file_of_authority =
            tokio::fs::File::open(&file).await.map_err(|error| wrong(error.to_string()))?;
        let mut pem = Vec::new();
        let mut bounded = file_of_authority.take(AUTHORITY_BYTES_MAX);
        bounded.read_to_end(&mut pem).await.map_err(|error| wrong(error.to_string()))?;
        let begins = b"-----BEGIN CERTIFICATE-----";
        if !pem.windows(begins.len()).any(|window| window == begins) {
            return Err(wrong("there is no certificate in it".to_owned()));
        }
        let authority = base64::engine::general_purpose::STANDARD.encode(pem);
        Ok(Self { server: server.to_owned(), authority: Some(authority), tls_server_name: None })
    }
}

/// A kubeconfig for somebody else, with a way to the cluster and a token of its own.
pub fn for_others(way: Way, namespace: &str, token: &str) -> Result<String> {
    let mut cluster = serde_json::json!({"server": way.server});
    for (name, value) in
        [("certificate-authority-data", way.authority), ("tls-server-name", way.tls_server_name)]
    {
        if let Some(value) = value {
            cluster[name] = value.into();
        }
    }
    let config = serde_json::json!({
        "apiVersion": "v1", "kind": "Config", "current-context": namespace,
        "clusters": [{"name": NAME, "cluster": cluster}],
        "users": [{"name": namespace, "user": {"token": token}}],
        "contexts": [{"name": namespace, "context": {"cluster": NAME, "user": namespace, "namespace": namespace}}],
    });
    serde_json::to_string_pretty(&config).map_err(Error::internal)
}

/// A kubeconfig for a program of ours that acts in the name of a namespace's own account.
pub fn as_tenant(access: Option<&Secret>, namespace: &NamespaceName) -> Result<Secret> {
    let mut config: serde_json::Value = if let Some(access) = access {
        serde_json::from_str(access.expose()).map_err(Error::internal)?
    } else {
        let own = |name: &str| own_file(name).display().to_string();
        serde_json::json!({
            "clusters": [{"name": NAME, "cluster": {"server": in_cluster_server()?, "certificate-authority": own("ca.crt")}}],
            "users": [{"name": NAME, "user": {"tokenFile": own("token")}}],
            "contexts": [{"name": NAME, "context": {"cluster": NAME, "user": NAME}}],
            "current-context": NAME,
        })
    };
    config["apiVersion"] = "v1".into();
    config["kind"] = "Config".into();
    config["users"][0]["user"]["as"] = format!("system:serviceaccount:{namespace}:{OWN_NAME}").into();
    config["contexts"][0]["context"]["namespace"] = namespace.as_str().into();
    Ok(Secret::new(config.to_string()))
}

/// A file of the pod's own service account.
fn own_file(name: &str) -> PathBuf {
    Path::new("/var/run/secrets/kubernetes.io/serviceaccount").join(name)
}

/// The pod's own service account, when the server runs in a cluster.
pub fn in_cluster_server() -> Result<String> {
    Ok(in_cluster()?.cluster_url.to_string())
}

fn in_cluster() -> Result<Config> {
    Config::incluster().map_err(|error| {
        Error::unavailable("not_in_cluster", format!("this server does not run in a cluster: {error}"))
            .hint("give a kubeconfig")
    })
}

/// A client for what [`read`] kept, or for the cluster around us when there is none.
pub(super) async fn client(credentials: Option<&Secret>) -> Result<(kube::Client, Config)> {
    let mut config = match credentials {
        None => in_cluster()?,
        Some(text) => {
            let kept: Kubeconfig = serde_json::from_str(text.expose()).map_err(Error::internal)?;
            Config::from_custom_kubeconfig(kept, &KubeConfigOptions::default()).await.map_err(|error| {
                Error::invalid("kubeconfig", format!("the kubeconfig's certificates cannot be read: {error}"))
            })?
        }
    };
    // We know better than the library which request may be sent twice, and how long each may take.
    config.default_retry = false;
    config.read_timeout = None;
    let client = kube::Client::try_from(config.clone()).map_err(|error| {
        Error::invalid("kubeconfig", format!("the kubeconfig cannot be used: {}", reason(&error)))
    })?;
    Ok((client, config))
}

/// An error of the library and what caused it, in one line.
pub(super) fn reason(error: &kube::Error) -> String {
    let mut text = String::new();
    let mut next: Option<&(dyn std::error::Error + 'static)> = Some(error);
    while let Some(cause) = next {
        let said = cause.to_string();
        if !text.contains(&said) {
            if !text.is_empty() {
                text.push_str(": ");
            }
            text.push_str(&said);
        }
        next = cause.source();
    }
    text
}

impl From<kube::Error> for Failure {
    fn from(error: kube::Error) -> Self {
        match error {
            kube::Error::Api(status) => Self::Said {
                code: status.code,
                reason: status.reason.clone(),
                message: status.message.clone(),
                causes: Vec::new(),
            },
            other => Self::Unreachable(reason(&other)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const GOOD: &str = r"
apiVersion: v1
kind: Config
clusters: [{name: c, cluster: {server: 'https://10.0.0.1:6443', certificate-authority-data: QQ==}}]
users: [{name: u, user: {token: the-token}}]
contexts: [{name: x, context: {cluster: c, user: u}}]
current-context: x
";

    #[test]
    fn only_what_opens_the_cluster_is_kept() {
        let access = read(&Secret::new(GOOD), None).unwrap();

        assert_eq!(access.server, "https://10.0.0.1:6443");
        assert!(access.credentials.expose().contains("the-token"));
        assert!(!format!("{access:?}").contains("the-token"));
    }

    #[test]
    fn without_a_current_context_the_others_are_named_if_there_are_any() {
        let none = read(&Secret::new("{apiVersion: v1, kind: Config}"), None).unwrap_err();
        let some = read(&Secret::new(GOOD.replace("current-context: x", "")), None).unwrap_err();

        assert!(none.detail.contains("names no context"), "{}", none.detail);
        assert_eq!(some.hint.as_deref(), Some("name one of its contexts: `x`"));
    }

    #[test]
    fn a_tenants_kubeconfig_acts_as_its_namespaces_account_and_says_nothing_else() {
        let access = read(&Secret::new(GOOD), None).unwrap();

        let config = as_tenant(Some(&access.credentials), &"henry-test".parse().unwrap()).unwrap();

        let config: serde_json::Value = serde_json::from_str(config.expose()).unwrap();
        assert_eq!(config["users"][0]["user"]["as"], "system:serviceaccount:henry-test:longshore");
        assert_eq!(config["users"][0]["user"]["token"], "the-token");
        assert_eq!(config["contexts"][0]["context"]["namespace"], "henry-test");
        assert_eq!(config["clusters"][0]["cluster"]["server"], "https://10.0.0.1:6443");
    }

    #[tokio::test]
    async fn a_kubeconfig_for_others_has_a_way_and_a_token_and_nothing_else() {
        let access = read(&Secret::new(GOOD), None).unwrap();
        let kept = for_others(Way::of(&access.credentials).unwrap(), "henry-test", "short-lived").unwrap();
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("ca.crt");
        std::fs::write(&file, "nothing").unwrap();
        let outside = "https://kubernetes.example.org";

        assert!(!kept.contains("the-token"));
        assert!(kept.contains("short-lived") && kept.contains("https://10.0.0.1:6443"));
        assert!(Way::from_outside(outside, Some(&folder.path().join("missing"))).await.is_err());
        assert!(Way::from_outside(outside, Some(&file)).await.is_err());
        std::fs::write(&file, "-----BEGIN CERTIFICATE-----\nQQ==\n-----END CERTIFICATE-----\n").unwrap();
        let way = Way::from_outside(outside, Some(&file)).await.unwrap();
        let made: serde_json::Value =
            serde_json::from_str(&for_others(way, "henry-test", "short-lived").unwrap()).unwrap();
        assert_eq!(made["clusters"][0]["cluster"]["server"], outside);
        assert!(made["clusters"][0]["cluster"]["certificate-authority-data"].is_string());
        assert!(made["clusters"][0]["cluster"]["tls-server-name"].is_null());
    }

    #[test]
    fn programs_files_and_unchecked_servers_are_refused() {
        for (from, to) in [
            ("token: the-token", "exec: {apiVersion: client.authentication.k8s.io/v1, command: /bin/sh}"),
            ("token: the-token", "tokenFile: /etc/passwd"),
            ("token: the-token", "client-certificate: /a, client-key: /b"),
            ("token: the-token", "auth-provider: {name: gcp, config: {cmd-path: /bin/sh}}"),
            ("token: the-token", "token: a, as: somebody"),
            ("token: the-token", "username: a, password: b"),
            ("token: the-token", ""),
            ("certificate-authority-data: QQ==", "certificate-authority: /etc/passwd"),
            ("certificate-authority-data: QQ==", "insecure-skip-tls-verify: true"),
            ("certificate-authority-data: QQ==", "proxy-url: 'http://127.0.0.1:1'"),
            ("https://10.0.0.1:6443", "http://10.0.0.1:6443"),
            ("https://10.0.0.1:6443", "https://user:password@10.0.0.1:6443"),
            ("current-context: x", ""),
            ("current-context: x", "current-context: y"),
            ("cluster: c, user: u", "cluster: d, user: u"),
            ("cluster: c, user: u", "cluster: c, user: v"),
            ("clusters:", "clusters: {"),
        ] {
            let text = GOOD.replace(from, to);
            assert_ne!(text, GOOD);
            assert!(read(&Secret::new(text), None).is_err(), "{to}");
        }
        assert!(read(&Secret::new(GOOD), Some("x")).is_ok());
        assert!(read(&Secret::new(GOOD), Some("y")).is_err());
        assert!(read(&Secret::new(" ".repeat(KUBECONFIG_BYTES_MAX + 1)), None).is_err());
    }
}
