//! What the command line says to people, in English and Chinese. `{}` stands for a value, in this order in both.
//! `--help` and names of states stay English: they are what is typed and what the interface answers.

use super::environment;

/// One thing to say, in every language.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Word {
    english: &'static str,
    chinese: &'static str,
}

impl Word {
    /// Checked while compiling: both texts take the same number of values.
    const fn new(english: &'static str, chinese: &'static str) -> Self {
        assert!(values(english) == values(chinese), "both languages must take the same values");
        Self { english, chinese }
    }
}

/// How many `{}` a text has.
const fn values(text: &str) -> usize {
    let bytes = text.as_bytes();
    let (mut count, mut at) = (0, 0);
    while at + 1 < bytes.len() {
        if bytes[at] == b'{' && bytes[at + 1] == b'}' {
            count += 1;
        }
        at += 1;
    }
    count
}

/// A language that people read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Language {
    /// English.
    English,
    /// Simplified Chinese.
    Chinese,
}

impl Language {
    /// The first of `LONGSHORE_LANG`, `LC_ALL`, `LC_MESSAGES` and `LANG` that is set.
    pub(crate) fn from_environment() -> Self {
        let names = ["LONGSHORE_LANG", "LC_ALL", "LC_MESSAGES", "LANG"];
        let wanted = names.into_iter().find_map(environment::text).unwrap_or_default();
        if wanted.to_ascii_lowercase().starts_with("zh") { Self::Chinese } else { Self::English }
    }

    /// For `Accept-Language`.
    pub(crate) fn code(self) -> &'static str {
        match self {
            Self::English => "en",
            Self::Chinese => "zh",
        }
    }

    /// A text without values.
    pub(crate) fn pick(self, word: Word) -> &'static str {
        match self {
            Self::English => word.english,
            Self::Chinese => word.chinese,
        }
    }

    /// A text with its values filled in.
    pub(crate) fn say(self, word: Word, values: &[&str]) -> String {
        let mut pieces = self.pick(word).split("{}");
        let mut text = pieces.next().unwrap_or_default().to_owned();
        for (index, piece) in pieces.enumerate() {
            text.push_str(values.get(index).copied().unwrap_or_default());
            text.push_str(piece);
        }
        text
    }
}

pub(crate) const ERROR: Word = Word::new("error:", "错误:");
pub(crate) const HINT: Word = Word::new("hint:", "提示:");
pub(crate) const WARNING: Word = Word::new("warning:", "注意:");
pub(crate) const NEVER: Word = Word::new("never", "从不");
pub(crate) const NOTHING_DONE: Word = Word::new("nothing was done", "未做任何更改");
pub(crate) const NOTHING_THERE: Word = Word::new("nothing there", "没有内容");
pub(crate) const SHOWN_OF: Word = Word::new("{} of {} shown", "已显示 {} 条, 共 {} 条");
pub(crate) const NEXT_PAGE_HINT: Word = Word::new("more with `--offset {}`", "用 `--offset {}` 查看更多");

// Each pair: past, future.
pub(crate) const JUST_NOW: Word = Word::new("just now", "刚刚");
pub(crate) const SECONDS_AGO: (Word, Word) =
    (Word::new("{} s ago", "{} 秒前"), Word::new("in {} s", "{} 秒后"));
pub(crate) const MINUTES_AGO: (Word, Word) =
    (Word::new("{} min ago", "{} 分钟前"), Word::new("in {} min", "{} 分钟后"));
pub(crate) const HOURS_AGO: (Word, Word) =
    (Word::new("{} h ago", "{} 小时前"), Word::new("in {} h", "{} 小时后"));
pub(crate) const DAYS_AGO: (Word, Word) = (Word::new("{} d ago", "{} 天前"), Word::new("in {} d", "{} 天后"));
pub(crate) const YEARS_AGO: (Word, Word) =
    (Word::new("{} y ago", "{} 年前"), Word::new("in {} y", "{} 年后"));

// Talking to a server.
pub(crate) const NO_SERVER: Word = Word::new("no server is known", "尚未指定服务器");
pub(crate) const NO_SERVER_HINT: Word = Word::new(
    "log in with `longshore login URL`, or set LONGSHORE_URL and LONGSHORE_TOKEN",
    "用 `longshore login URL` 登录, 或设置 LONGSHORE_URL 和 LONGSHORE_TOKEN",
);
pub(crate) const UNREACHABLE: Word = Word::new("cannot reach {}: {}", "无法连接 {}: {}");
pub(crate) const UNREACHABLE_HINT: Word = Word::new(
    "is the server running, and is {} its address? `longshore doctor` looks closer",
    "服务器是否在运行? 地址 {} 是否正确? `longshore doctor` 可进一步检查",
);
pub(crate) const CERTIFICATE_HINT: Word = Word::new(
    "if `{}` signs its own certificate, give the fingerprint that it printed at its start: `longshore login URL --fingerprint HEX`",
    "如果 `{}` 使用自签证书, 请提供服务器启动时打印的指纹: `longshore login URL --fingerprint HEX`",
);
pub(crate) const BROKEN_OFF_HINT: Word = Word::new(
    "the connection to {} broke off; try again, and look at the server's log if it stays so",
    "与 {} 的连接中断; 请重试, 若仍如此请查看服务器日志",
);
pub(crate) const NO_ANSWER: Word = Word::new("{} does not answer in time", "{} 未及时应答");
pub(crate) const NO_ANSWER_HINT: Word =
    Word::new("`longshore doctor` looks closer", "`longshore doctor` 可进一步检查");
pub(crate) const ANSWERED_STATUS: Word = Word::new("{} answered {}", "{} 应答了 {}");
pub(crate) const REDIRECTED: Word = Word::new("{} sends us on to {}", "{} 将请求转到 {}");
pub(crate) const REDIRECTED_HINT: Word =
    Word::new("use that address, if you trust it", "若信任该地址, 请直接使用它");
pub(crate) const PROXY_HINT: Word = Word::new(
    "a proxy answered and not the server; is the server running?",
    "应答来自代理而非服务器; 服务器是否在运行?",
);
pub(crate) const RETRY_AFTER_HINT: Word = Word::new("try again in {} s", "请在 {} 秒后重试");
pub(crate) const LOGIN_HINT: Word =
    Word::new("log in with `longshore login {}`", "用 `longshore login {}` 登录");
pub(crate) const TOKEN_VARIABLE_HINT: Word = Word::new(
    "the token in LONGSHORE_TOKEN is not accepted; unset it or set another",
    "LONGSHORE_TOKEN 中的令牌无效; 请取消设置或更换",
);

// Logging in.
pub(crate) const ACCOUNT: Word = Word::new("Account", "用户名");
pub(crate) const PASSWORD: Word = Word::new("Password", "密码");
pub(crate) const PRESENT_PASSWORD: Word = Word::new("Present password", "当前密码");
pub(crate) const NEW_PASSWORD: Word = Word::new("New password", "新密码");
pub(crate) const AGAIN: Word = Word::new("Once more", "再输入一次");
pub(crate) const NOT_THE_SAME: Word = Word::new("these are not the same", "两次输入不一致");
pub(crate) const NO_TERMINAL: Word =
    Word::new("a password is needed and nobody can be asked", "需要密码, 但当前不是终端, 无法询问");
pub(crate) const PASSWORD_STDIN_HINT: Word = Word::new(
    "send it to standard input and add `--password-stdin`",
    "将密码送入标准输入并加上 `--password-stdin`",
);
pub(crate) const NO_ACCOUNT: Word = Word::new("which account?", "缺少用户名");
pub(crate) const ACCOUNT_HINT: Word = Word::new("add `--account NAME`", "请加上 `--account NAME`");
pub(crate) const NOT_LONGSHORE: Word = Word::new("{} is not a Longshore server", "{} 不是 Longshore 服务器");
pub(crate) const NOT_LONGSHORE_HINT: Word = Word::new("check the address and the port", "请检查地址和端口");
pub(crate) const IN_THE_CLEAR: Word = Word::new(
    "the way to {} is not encrypted: others can read what you send; use `https://`",
    "到 {} 的连接未加密, 他人可能看到内容; 请使用 `https://`",
);
pub(crate) const LOGGED_IN: Word = Word::new("logged in to {} as `{}`", "已登录 {}, 用户 `{}`");
pub(crate) const LOGGED_OUT: Word = Word::new("logged out of {}", "已退出 {}");
pub(crate) const WAS_NOT_LOGGED_IN: Word = Word::new("you were not logged in", "您未登录");
pub(crate) const LOGOUT_NOT_TOLD: Word = Word::new(
    "{} could not be told; the login ends there by itself: {}",
    "未能通知 {}; 登录将在服务器端自行失效: {}",
);
pub(crate) const REGISTERED: Word = Word::new("account `{}` made", "已创建用户 `{}`");
pub(crate) const WAITS_FOR_APPROVAL: Word = Word::new(
    "account `{}` made; an admin has to approve it before you can log in",
    "已创建用户 `{}`; 需管理员批准后才能登录",
);
pub(crate) const REGISTRATION_CLOSED: Word = Word::new("{} takes no registrations", "{} 不开放注册");
pub(crate) const ASK_ADMIN_HINT: Word = Word::new("ask an admin for an account", "请向管理员申请账号");

// Accounts and tokens.
pub(crate) const ACCOUNT_CREATED: Word = Word::new("account `{}` made", "已创建用户 `{}`");
pub(crate) const ACCOUNT_ENABLED: Word = Word::new("account `{}` can be used", "用户 `{}` 已启用");
pub(crate) const ACCOUNT_DISABLED: Word =
    Word::new("account `{}` is shut out; its things stay", "用户 `{}` 已停用, 其内容保留");
pub(crate) const ROLE_CHANGED: Word = Word::new("account `{}` is now `{}`", "用户 `{}` 的角色现为 `{}`");
pub(crate) const PASSWORD_CHANGED: Word = Word::new(
    "password of `{}` changed; its other logins have ended",
    "用户 `{}` 的密码已更改, 其他登录已失效",
);
pub(crate) const TOKEN_CREATED: Word = Word::new(
    "token `{}` made; keep it now, it is not shown again",
    "令牌 `{}` 已创建; 请立即保存, 之后不再显示",
);
pub(crate) const TOKEN_DELETED: Word = Word::new("token `{}` deleted", "令牌 `{}` 已删除");

// Machines.
pub(crate) const INVITE_CREATED: Word = Word::new(
    "type this on the machine, as root, once (without systemd leave `--service` out); the invitation ends {}",
    "请在该机器上以 root 身份执行一次 (没有 systemd 时去掉 `--service`); 邀请的有效期: {}",
);
pub(crate) const INVITE_DELETED: Word = Word::new("invitation `{}` taken back", "邀请 `{}` 已撤回");
pub(crate) const MACHINE_JOINED: Word = Word::new("machine `{}` has joined `{}`", "机器 `{}` 已加入 `{}`");
pub(crate) const MACHINE_JOINED_NEXT: Word = Word::new("now start its agent: `{}`", "接下来请启动代理: `{}`");
pub(crate) const SERVICE_INSTALLED: Word = Word::new(
    "the agent runs as the service `longshore-agent` ({}); it starts with the machine, and `journalctl -u longshore-agent` has its log",
    "代理已作为服务 `longshore-agent` 运行 ({}), 随机器启动; 日志见 `journalctl -u longshore-agent`",
);
pub(crate) const MACHINE_DRAINED: Word = Word::new(
    "machine `{}` gets no new work; what runs on it goes on",
    "机器 `{}` 不再接受新任务; 已在其上运行的不受影响",
);
pub(crate) const MACHINE_RESUMED: Word =
    Word::new("machine `{}` gets new work again", "机器 `{}` 重新接受新任务");
pub(crate) const MACHINE_LABELLED: Word = Word::new("machine `{}` is called `{}`", "机器 `{}` 的标签为 `{}`");
pub(crate) const MACHINE_RELEASED: Word = Word::new(
    "the key of machine `{}` is forgotten; it has to join again",
    "机器 `{}` 的密钥已作废; 需要重新加入",
);
pub(crate) const MACHINE_DELETED: Word = Word::new(
    "machine `{}` removed; its images stay on it, and its agent should be stopped there",
    "机器 `{}` 已移除; 镜像仍保留在该机器上, 请在该机器上停止代理",
);

// Clusters.
pub(crate) const CLUSTER_ADDED: Word = Word::new("cluster `{}` added", "集群 `{}` 已添加");
pub(crate) const CLUSTER_RENEWED: Word =
    Word::new("cluster `{}` is opened by the new kubeconfig", "集群 `{}` 已改用新的 kubeconfig");
pub(crate) const CLUSTER_DEFAULT: Word = Word::new(
    "namespaces are made in cluster `{}` when nobody names another",
    "未指定集群时, 命名空间将创建在集群 `{}` 中",
);
pub(crate) const CLUSTER_REMOVED: Word = Word::new(
    "cluster `{}` is forgotten; the cluster itself stays as it is",
    "集群 `{}` 已移除; 集群本身保持不变",
);

// Namespaces.
pub(crate) const NAMESPACE_CREATED: Word =
    Word::new("namespace `{}` made in cluster `{}`", "命名空间 `{}` 已在集群 `{}` 中创建");
pub(crate) const NAMESPACE_DELETE_ASK: Word = Word::new(
    "delete namespace `{}` with everything that runs and is kept in it?",
    "删除命名空间 `{}` 及其中运行和保存的一切?",
);
pub(crate) const NAMESPACE_DELETED: Word = Word::new("namespace `{}` is gone", "命名空间 `{}` 已删除");
pub(crate) const NAMESPACE_DELETING: Word =
    Word::new("namespace `{}` is being deleted: {}", "命名空间 `{}` 正在删除: {}");

// Workloads.
pub(crate) const WORKLOAD_APPLIED: Word = Word::new("{}", "{}");
pub(crate) const WORKLOAD_TRIED: Word = Word::new("{} (only tried)", "{} (仅试运行)");
pub(crate) const WORKLOAD_WARNING: Word = Word::new("the cluster warns: {}", "集群警告: {}");
pub(crate) const WORKLOAD_WAITS: Word = Word::new("{}: {}", "{}: {}");
pub(crate) const WORKLOAD_READY: Word = Word::new("{} is ready", "{} 已就绪");
pub(crate) const WORKLOAD_NOT_READY: Word = Word::new("{} is not ready: {}", "{} 未就绪: {}");
pub(crate) const WORKLOAD_SHOW_HINT: Word = Word::new(
    "`longshore workload show {} --namespace {}` says more",
    "`longshore workload show {} --namespace {}` 给出更多信息",
);
pub(crate) const WORKLOAD_SCALED: Word = Word::new("`{}` shall have {} pods", "`{}` 将有 {} 个 Pod");
pub(crate) const WORKLOAD_RESTARTED: Word =
    Word::new("the pods of `{}` are replaced one after the other", "`{}` 的 Pod 正在逐个替换");
pub(crate) const PORT_FORWARDED: Word =
    Word::new("{} leads to port {} of `{}`; Ctrl-C ends it", "{} 已转发到端口 {} (`{}`); 按 Ctrl-C 结束");
pub(crate) const WORKLOAD_DELETED: Word = Word::new("`{}` deleted", "`{}` 已删除");

// Pipelines.
pub(crate) const NO_GIT_REPO: Word = Word::new("there is no git repository `{}`", "代码仓库 `{}` 不存在");
pub(crate) const NO_GIT_REPO_HINT: Word =
    Word::new("`longshore git-repo list` shows yours", "`longshore git-repo list` 列出您的代码仓库");
pub(crate) const WORKING_COPY_HINT: Word = Word::new(
    "name the one that this is a working copy of with `--repo NAME`, or only build an image of it with `--image NAME`",
    "用 `--repo NAME` 指定它对应的代码仓库, 或用 `--image NAME` 只构建镜像",
);
pub(crate) const GIT_REPO_AMBIGUOUS: Word = Word::new(
    "several accounts have a git repository `{}`; give its number",
    "多个用户都有代码仓库 `{}`; 请使用编号",
);
pub(crate) const GIT_REPO_ADDED: Word = Word::new("git repository `{}` added", "已添加代码仓库 `{}`");
pub(crate) const GIT_REPO_TEST_HINT: Word = Word::new(
    "`longshore git-repo test {}` looks whether it answers, `longshore run start {}` builds it",
    "`longshore git-repo test {}` 检查能否连接, `longshore run start {}` 开始构建",
);
pub(crate) const GIT_REPO_CHANGED: Word = Word::new("git repository `{}` changed", "已更新代码仓库 `{}`");
pub(crate) const REMOVE_GIT_REPO: Word =
    Word::new("Delete git repository `{}` with its runs?", "删除代码仓库 `{}` 及其运行记录?");
pub(crate) const GIT_REPO_REMOVED: Word = Word::new("git repository `{}` deleted", "代码仓库 `{}` 已删除");
pub(crate) const GIT_REPO_ANSWERS: Word =
    Word::new("the git server answers; a run would build `{}`", "可以连接; 运行将构建 `{}`");
pub(crate) const GIT_REPO_SECRET_SET: Word =
    Word::new("secret `{}` of git repository `{}` is set", "已设置密钥 `{}` (代码仓库 `{}`)");
pub(crate) const GIT_REPO_SECRET_REMOVED: Word =
    Word::new("secret `{}` of git repository `{}` is forgotten", "已删除密钥 `{}` (代码仓库 `{}`)");
pub(crate) const NOTIFICATION_ADDED: Word = Word::new("`{}` will hear how runs end", "运行结束时将通知 `{}`");
pub(crate) const NOTIFICATION_TEST_HINT: Word = Word::new(
    "`longshore notification test {} {}` sends a trial message",
    "`longshore notification test {} {}` 发送一条测试消息",
);
pub(crate) const NOTIFICATION_TESTED: Word =
    Word::new("target {} took a trial message", "目标 {} 已收到测试消息");
pub(crate) const NOTIFICATION_REMOVED: Word = Word::new("target {} hears nothing more", "不再通知目标 {}");
pub(crate) const RUN_STARTED: Word = Word::new("run `{}` ({}) started", "运行 `{}` ({}) 已开始");
pub(crate) const RUN_WATCH_HINT: Word =
    Word::new("`longshore run watch {}` follows it", "`longshore run watch {}` 查看进度");
pub(crate) const RUN_CANCELLED: Word = Word::new("run {} is being stopped", "正在停止运行 {}");
pub(crate) const RUN_SUCCEEDED: Word = Word::new("run `{}` made `{}`", "运行 `{}` 已生成镜像 `{}`");
pub(crate) const RUN_FAILED: Word = Word::new("run `{}` failed: {}", "运行 `{}` 失败: {}");
pub(crate) const RUN_WAS_CANCELLED: Word = Word::new("run `{}` was cancelled", "运行 `{}` 已取消");

// Releases.
pub(crate) const RELEASE_BEGUN: Word = Word::new("release `{}`: {}", "应用 `{}`: {}");
pub(crate) const RELEASE_LOG_HINT: Word =
    Word::new("`longshore release log {}` shows how it goes", "`longshore release log {}` 查看进度");
pub(crate) const RELEASE_DEPLOYED: Word = Word::new("release `{}`, revision {}: {}", "应用 `{}` 版本 {}: {}");
pub(crate) const RELEASE_UNINSTALLED: Word = Word::new("release `{}` is gone", "应用 `{}` 已卸载");
pub(crate) const RELEASE_CANCELLED: Word =
    Word::new("what is being done to `{}` is being stopped", "正在停止对 `{}` 的操作");
pub(crate) const RELEASE_WAS_CANCELLED: Word =
    Word::new("release `{}`: {} was cancelled", "应用 `{}`: {} 已取消");
pub(crate) const RELEASE_FAILED: Word = Word::new("release `{}`: {} failed: {}", "应用 `{}`: {} 失败: {}");
pub(crate) const RELEASE_SAME: Word = Word::new("nothing would change in `{}`", "`{}` 没有变化");
pub(crate) const RELEASE_LEFT_OUT: Word = Word::new("left out: {}", "已略去: {}");
pub(crate) const UNINSTALL_RELEASE: Word =
    Word::new("Uninstall release `{}` with everything of it?", "卸载应用 `{}` 及其全部资源?");

// Images.
pub(crate) const NO_IMAGE: Word = Word::new("there is no image `{}`", "镜像 `{}` 不存在");
pub(crate) const NO_IMAGE_HINT: Word =
    Word::new("`longshore image list` shows yours", "`longshore image list` 列出您的镜像");
pub(crate) const IMAGE_TAGGED: Word = Word::new("image is now also `{}`", "镜像现在也名为 `{}`");
pub(crate) const IMAGE_UPDATED: Word = Word::new("image {} changed", "镜像 {} 已更新");
pub(crate) const DELETE_IMAGE: Word = Word::new("Delete image `{}`?", "删除镜像 `{}`?");
pub(crate) const IMAGE_DELETED: Word = Word::new("image `{}` deleted", "镜像 `{}` 已删除");
pub(crate) const COLLECTED: Word = Word::new("{} freed, {} left", "已释放 {}, 剩余 {}");
pub(crate) const COLLECTION_PHASE: Word = Word::new("the registry: {}", "镜像仓库: {}");
pub(crate) const COLLECTION_FAILED: Word =
    Word::new("the registry was not tidied up: {}", "镜像仓库清理失败: {}");
pub(crate) const COLLECTION_CANCELLED: Word =
    Word::new("collection {} is given up; nothing was removed", "清理 {} 已取消; 未删除任何内容");
pub(crate) const COLLECTION_GOES_ON: Word = Word::new(
    "collection {} still goes on; `longshore registry collections` shows how",
    "清理 {} 仍在进行; 用 `longshore registry collections` 查看",
);
pub(crate) const TREE_IS_CUT: Word =
    Word::new("the family is larger than what is shown", "该镜像家族过大, 未全部显示");
pub(crate) const IMAGE_PREFETCHED: Word = Word::new("machine `{}` fetches it", "机器 `{}` 正在拉取该镜像");
pub(crate) const NO_DEPENDENTS: Word = Word::new("nothing depends on it", "没有任何内容依赖它");
pub(crate) const NO_DOCKERFILE: Word = Word::new("`{}` has no `{}`", "`{}` 中没有 `{}`");
pub(crate) const NO_DOCKERFILE_HINT: Word = Word::new(
    "name the folder that holds the Dockerfile, or give its path with `--dockerfile`",
    "请指定包含 Dockerfile 的文件夹, 或用 `--dockerfile` 给出路径",
);
pub(crate) const LEFT_OUT: Word = Word::new(
    "left out: `{}` (leads out of the folder, or is no ordinary file)",
    "已略过: `{}` (指向文件夹之外, 或不是普通文件)",
);
pub(crate) const LEFT_OUT_MORE: Word = Word::new("left out: {} more", "另略过 {} 项");
pub(crate) const DOWNLOADING: Word = Word::new("downloading", "正在下载");
pub(crate) const COPIED_TO: Word = Word::new("copied to `{}`", "已复制到 `{}`");
pub(crate) const COPIED_HERE: Word =
    Word::new("copied to `{}`: {} files, {}", "已复制到 `{}`: {} 个文件, {}");
pub(crate) const COPY_ENDS: Word = Word::new(
    "one of the two must be in a container, and one here",
    "两个路径中必须一个在容器内, 一个在本机",
);
pub(crate) const COPY_ENDS_HINT: Word =
    Word::new("write `CONTAINER:/PATH` for one of them", "其中一个请写成 `容器名:/路径`");
pub(crate) const FOLDER_MADE: Word = Word::new("folder `{}` is there", "文件夹 `{}` 已就绪");
pub(crate) const DELETE_FILE: Word = Word::new("Delete `{}` in container `{}`?", "删除 `{}` (容器 `{}`)?");
pub(crate) const FILE_DELETED: Word = Word::new("`{}` is deleted", "`{}` 已删除");
pub(crate) const LIST_CUT_OFF: Word =
    Word::new("`{}` has more than could be listed", "`{}` 的内容未能全部列出");
pub(crate) const UPLOADING: Word = Word::new("uploading", "正在上传");
pub(crate) const UPLOAD_PROGRESS: Word = Word::new("uploading: {} of {} ({}/s)", "正在上传: {} / {} ({}/秒)");
pub(crate) const CHECKING: Word = Word::new("the server checks the archive", "服务器正在检查压缩包");
pub(crate) const UPLOADED: Word = Word::new("uploaded {}", "已上传 {}");
pub(crate) const UPLOAD_STOPPED: Word =
    Word::new("upload stopped; nothing is built", "上传已停止, 未开始构建");
pub(crate) const UPLOAD_BROKEN_HINT: Word = Word::new(
    "the server hung up during the upload: is the archive larger than it takes? its log says why",
    "服务器在上传过程中断开了连接: 压缩包是否超过上限? 原因见服务器日志",
);

// Builds.
pub(crate) const QUEUED: Word = Word::new("queued, {} before it", "排队中, 前面还有 {} 个");
pub(crate) const BUILDING: Word = Word::new("building", "正在构建");
pub(crate) const BUILDING_STEP: Word = Word::new("building, step {}", "正在构建, 步骤 {}");
pub(crate) const PUSHING: Word = Word::new("pushing {} of {}", "正在推送 {} / {}");
pub(crate) const VERIFYING: Word = Word::new("comparing with the registry", "正在与镜像仓库核对");
pub(crate) const TRYING_AGAIN: Word = Word::new(
    "the connection was lost; trying again (the build goes on)",
    "连接中断, 正在重试 (构建仍在进行)",
);
pub(crate) const DETACHED: Word =
    Word::new("no longer watching; the build goes on", "已停止跟踪; 构建仍在进行");
pub(crate) const FOLLOW_COMMAND: Word =
    Word::new("watch it:  longshore build log --follow {}", "继续跟踪:  longshore build log --follow {}");
pub(crate) const CANCEL_COMMAND: Word =
    Word::new("stop it:   longshore build cancel {}", "取消构建:  longshore build cancel {}");
pub(crate) const FOLLOW_HINT: Word =
    Word::new("watch it with `longshore build log --follow {}`", "用 `longshore build log --follow {}` 跟踪");
pub(crate) const BUILD_CANCELLED: Word = Word::new("build {} is being stopped", "正在取消构建 {}");
pub(crate) const BUILD_WAS_CANCELLED: Word =
    Word::new("the build of `{}` was cancelled", "`{}` 的构建已取消");
pub(crate) const BUILD_SUCCEEDED: Word = Word::new("`{}` is built", "`{}` 构建完成");
pub(crate) const BUILD_FAILED: Word = Word::new("the build of `{}` failed: {}", "`{}` 构建失败: {}");
pub(crate) const BUILD_FAILED_AT: Word =
    Word::new("the build of `{}` failed at step {}: {}", "`{}` 构建失败于步骤 {}: {}");
pub(crate) const LOG_HINT: Word =
    Word::new("the whole log: `longshore build log {}`", "完整日志: `longshore build log {}`");
pub(crate) const IMAGE_READY: Word =
    Word::new("image `{}` is in the registry ({}, built in {})", "镜像 `{}` 已在镜像仓库中 ({}, 用时 {})");
pub(crate) const RUN_HINT: Word =
    Word::new("run it with `longshore container run {}`", "用 `longshore container run {}` 运行");

// Containers.
pub(crate) const CONTAINER_UPDATED: Word = Word::new("container `{}` is changed", "容器 `{}` 已修改");
pub(crate) const CONTAINER_RENAMED: Word = Word::new("the container is named `{}` now", "容器现在名为 `{}`");
pub(crate) const DELETE_VOLUME: Word =
    Word::new("Delete volume `{}` and everything in it?", "删除卷 `{}` 及其全部内容?");
pub(crate) const VOLUME_DELETED: Word = Word::new("volume `{}` is being deleted", "正在删除卷 `{}`");

// Charts.
pub(crate) const CHART_UPLOADED: Word =
    Word::new("chart `{}` is kept on the server", "Chart `{}` 已保存到服务器");
pub(crate) const DELETE_CHART: Word =
    Word::new("delete chart `{}`? What was installed from it stays", "删除 Chart `{}`? 已安装的内容不受影响");
pub(crate) const CHART_KEY_ADDED: Word = Word::new("key of `{}` added", "已添加 `{}` 的密钥");
pub(crate) const SIGNATURES_REQUIRED: Word =
    Word::new("charts of `{}` must be signed", "`{}` 的 Chart 必须签名");
pub(crate) const SIGNATURES_NOT_REQUIRED: Word =
    Word::new("charts of `{}` need no signature", "`{}` 的 Chart 无需签名");
pub(crate) const CHART_KEY_DELETED: Word = Word::new("key `{}` deleted", "密钥 `{}` 已删除");
pub(crate) const CHART_NOT_VERIFIED: Word =
    Word::new("chart `{}` cannot be trusted: {}", "Chart `{}` 不可信: {}");
pub(crate) const CHART_DELETED: Word = Word::new("chart `{}` deleted", "Chart `{}` 已删除");
pub(crate) const NO_VOLUME: Word = Word::new("there is no volume `{}`", "没有卷 `{}`");
pub(crate) const NO_VOLUME_HINT: Word =
    Word::new("`longshore volume list` shows yours", "用 `longshore volume list` 查看您的卷");
pub(crate) const SEVERAL_VOLUMES: Word =
    Word::new("more than one machine has a volume `{}`", "多台机器上都有卷 `{}`");
pub(crate) const SEVERAL_VOLUMES_HINT: Word =
    Word::new("say which with `--machine`, or give the number", "请用 `--machine` 指明, 或给出编号");
pub(crate) const AS_IT_IS: Word = Word::new("{}", "{}");
pub(crate) const NOT_INHERITED: Word = Word::new(
    "`{}` is not among what the image inherits; `container save --preview --json` shows all of it",
    "`{}` 不在继承的参数之中; 用 `container save --preview --json` 查看全部",
);
pub(crate) const CONTAINER_STARTING: Word = Word::new("container `{}` is being started", "正在启动容器 `{}`");
pub(crate) const CONTAINER_STOPPING: Word = Word::new("container `{}` is being stopped", "正在停止容器 `{}`");
pub(crate) const CONTAINER_RESTARTING: Word =
    Word::new("container `{}` is being restarted", "正在重启容器 `{}`");
pub(crate) const DELETE_CONTAINER: Word =
    Word::new("Delete container `{}` and everything on its disk?", "删除容器 `{}` 及其磁盘上的全部内容?");
pub(crate) const CONTAINER_DELETED: Word = Word::new("container `{}` is being deleted", "正在删除容器 `{}`");
pub(crate) const DELETE_KEPT_LOG: Word =
    Word::new("Delete the log that is kept of container `{}`?", "删除为容器 `{}` 保留的日志?");
pub(crate) const KEPT_LOG_DELETED: Word =
    Word::new("the log of container `{}` is deleted", "容器 `{}` 的日志已删除");
pub(crate) const NOTHING_USED: Word =
    Word::new("container `{}` uses nothing: it is {}", "容器 `{}` 未占用资源: 状态为 {}");
pub(crate) const CONTAINER_IS: Word = Word::new("container `{}`: {}", "容器 `{}`: {}");
pub(crate) const CONTAINER_WAITS: Word =
    Word::new("container `{}`: number {} in line; {}", "容器 `{}`: 排在第 {} 位; {}");
pub(crate) const CONTAINER_RUNS: Word = Word::new("container `{}` runs", "容器 `{}` 正在运行");
pub(crate) const CONTAINER_ENDED: Word =
    Word::new("container `{}` has done its work and ended", "容器 `{}` 已完成并结束");
pub(crate) const CONTAINER_FAILED: Word =
    Word::new("container `{}` does not run: {}", "容器 `{}` 未能运行: {}");
pub(crate) const CONTAINER_LOG_HINT: Word =
    Word::new("its whole log: `longshore container log {}`", "完整日志: `longshore container log {}`");
pub(crate) const CONTAINER_SHOW_HINT: Word =
    Word::new("look again with `longshore container show {}`", "用 `longshore container show {}` 再次查看");
pub(crate) const NOT_IN_TIME: Word = Word::new("container `{}` is still `{}`", "容器 `{}` 仍处于 `{}`");
pub(crate) const NOT_WAITING: Word =
    Word::new("no longer waiting; the container is still being made", "已停止等待; 容器仍在创建中");

pub(crate) const CONTAINER_GOES_ON: Word = Word::new(
    "container `{}` goes on; come back with `longshore container exec -it {}`",
    "容器 `{}` 仍在运行; 用 `longshore container exec -it {}` 返回",
);

// Terminals.
pub(crate) const NO_COMMAND: Word = Word::new("which command?", "缺少要运行的命令");
pub(crate) const NO_COMMAND_HINT: Word =
    Word::new("add it after `--`, or open a shell with `-it`", "请写在 `--` 之后, 或用 `-it` 打开一个 shell");
pub(crate) const NOT_A_TERMINAL: Word = Word::new(
    "`--tty` needs a terminal for input and output; leave it out for pipes and scripts",
    "`--tty` 需要终端作为输入和输出; 用于管道或脚本时请去掉它",
);
pub(crate) const NO_TERMINAL_WITH_JSON: Word =
    Word::new("`--tty` and `--json` cannot go together", "`--tty` 与 `--json` 不能同时使用");
pub(crate) const CONNECTION_LOST: Word =
    Word::new("the connection to the server was lost", "与服务器的连接已中断");
pub(crate) const COME_BACK_HINT: Word = Word::new(
    "come back with `longshore container exec -it {} --session {}`; it is kept for some minutes",
    "用 `longshore container exec -it {} --session {}` 返回; 会话将保留几分钟",
);
pub(crate) const TERMINAL_ENDED: Word = Word::new("terminal {} is being ended", "正在结束终端 {}");

// The database.
pub(crate) const SETTING_IS: Word = Word::new("`{}` is `{}` now", "`{}` 现在为 `{}`");
pub(crate) const DATABASE_IS: Word = Word::new("the database is {}", "数据库类型: {}");
pub(crate) const MIGRATE_HINT: Word = Word::new(
    "`longshore db migrate` applies what waits; so does the server's next start",
    "`longshore db migrate` 或重启服务器即可完成升级",
);
pub(crate) const MIGRATED: Word = Word::new("applied: {}", "已执行 {} 项");
pub(crate) const RESTORE_DATABASE: Word = Word::new("Replace the database by `{}`?", "用 `{}` 替换数据库?");
pub(crate) const BACKED_UP: Word = Word::new("{} rows are in `{}`", "已将 {} 行写入 `{}`");
pub(crate) const BACKUP_HINT: Word = Word::new(
    "copy `keys/`, `blobs/` and `registry/` of the data folder now, after the database",
    "接下来请复制数据目录中的 `keys/`、`blobs/` 与 `registry/`",
);
pub(crate) const RESTORED: Word = Word::new("{} rows were read from `{}`", "已恢复 {} 行, 来源: `{}`");
pub(crate) const REPLACED_DATABASE: Word =
    Word::new("the database that was there is kept in `{}`", "原数据库保留在 `{}`");

// Doctor.
pub(crate) const CHECKS_FAILED: Word = Word::new("checks that failed: {}", "{} 项检查未通过");

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_filled_in_in_order() {
        assert_eq!(Language::English.say(SHOWN_OF, &["2", "9"]), "2 of 9 shown");
        assert_eq!(Language::Chinese.say(SHOWN_OF, &["2", "9"]), "已显示 2 条, 共 9 条");
    }

    #[test]
    fn a_value_that_looks_like_a_place_is_left_alone() {
        assert_eq!(Language::English.say(CONTAINER_IS, &["{}", "x"]), "container `{}`: x");
    }
}
