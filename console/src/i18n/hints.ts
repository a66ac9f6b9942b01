/**
 * What to do next, in Chinese, by the server's own sentence: hints have no codes. `{}` stands for what the server fills in, in the
 * same order. Commands, settings and fields keep their names.
 */
export const hints: Record<string, string> = {
  "a `.dockerignore` does not help here: pack less, or ask an admin for more":
    "`.dockerignore` 在这里不起作用：请减少打包的内容，或请管理员提高上限",
  "a schema can refer to its own parts alone, as `#/definitions/…`": "值定义只能引用自身的部分，如 `#/definitions/…`",
  "an admin adds one: longshore cluster add NAME --kubeconfig FILE":
    "由管理员添加集群：longshore cluster add NAME --kubeconfig FILE",
  "an admin can allow more versions with `charts.versions`": "管理员可以用 `charts.versions` 提高版本数量的上限",
  "an admin can allow more with `charts.index_bytes` and `charts.index_compressed_bytes`":
    "管理员可以用 `charts.index_bytes` 和 `charts.index_compressed_bytes` 提高上限",
  "an admin can use private addresses, or allow the range with `outbound.allow`":
    "管理员可以使用内部地址，或用 `outbound.allow` 允许该网段",
  "an admin forgets the key with `longshore machine release {}`; then join the right machine again, and give the copy an id of its own":
    "请管理员用 `longshore machine release {}` 清除该密钥，再让正确的机器重新加入，并给复制出来的机器换一个 ID",
  "an admin gives new ones: `longshore cluster renew NAME --kubeconfig FILE`":
    "由管理员更换凭据：`longshore cluster renew NAME --kubeconfig FILE`",
  "an admin installs Helm 3 on the server's host (https://helm.sh), or sets `charts.helm` to where it is":
    "请管理员在服务器上安装 Helm 3（https://helm.sh），或把 `charts.helm` 设为它的位置",
  "an admin looks at `charts.helm` and at the rights of that file": "请管理员检查 `charts.helm` 和该文件的权限",
  "an admin of the cluster runs: longshore cluster role | kubectl apply -f -":
    "请集群管理员执行：longshore cluster role | kubectl apply -f -",
  "an admin sets `kubernetes.public_authority` to a file of certificates (PEM)":
    "请管理员把 `kubernetes.public_authority` 设为证书文件（PEM）",
  "an admin sets `kubernetes.public_server` to the address by which people reach the API server":
    "请管理员把 `kubernetes.public_server` 设为用户访问 API 服务器的地址",
  "an admin sets `mail.url` and `mail.from`": "请管理员设置 `mail.url` 和 `mail.from`",
  "an admin sets `pipelines.namespace` to another name": "请管理员把 `pipelines.namespace` 改为其他名称",
  "apply its file again": "请重新部署它的清单",
  "apply its file again to take it over": "重新部署它的清单即可接管",
  "ask an admin for an account": "请管理员创建账号",
  "ask an admin for another one: `longshore machine invite`": "请管理员重新生成邀请：`longshore machine invite`",
  "ask for another one: each is good for one connection and some seconds":
    "请重新获取凭证：每个只能用于一次连接，几秒内有效",
  "ask for less, or let an admin raise the quota: `longshore account quota`":
    "请减少用量，或请管理员提高配额：`longshore account quota`",
  "bring back `keys/sealing.key` of the data folder, or give the secret again":
    "请恢复数据目录中的 `keys/sealing.key`，或重新填写该密钥",
  "build it anew from a Dockerfile, which can do in one layer what was saved in many":
    "请用 Dockerfile 重新构建：可以把多次保存的内容合为一层",
  "build it as `{}/{}:{}`": "请构建为 `{}/{}:{}`",
  "cancel it first": "请先取消它",
  "cancel them, or wait for their end": "请取消它们，或等它们结束",
  "change the file and apply it again": "请修改清单后重新部署",
  "charts are installed into clusters: `longshore release install`":
    "Chart 应安装到集群中：`longshore release install`",
  "check host and port, and that it runs": "请检查主机和端口是否正确，以及对方是否在运行",
  "check how it is spelled": "请检查拼写",
  "check the runner's REGISTRY_NAME, REGISTRY_PASS and IMAGE_REPO":
    "请检查其中的 REGISTRY_NAME、REGISTRY_PASS 和 IMAGE_REPO",
  "check the spelling, or register": "请检查拼写，或先注册",
  "choose another address with `--{}`": "请用 `--{}` 选择其他地址",
  "choose another name": "请换一个名称",
  "choose another one, or `any`": "请换一台机器，或选“任意合适的机器”",
  "choose another with `--data-dir`": "请用 `--data-dir` 选择其他目录",
  "close one that is not used": "请关闭一个不用的终端",
  "close some that nobody looks at": "请关闭一些不再查看的页面",
  "create it first": "请先创建它",
  "delete containers that are not used": "请删除不用的容器",
  "delete one first": "请先删除一个",
  "delete one, or ask an admin for more": "请删除一个，或请管理员提高上限",
  "delete the container": "请改为删除容器",
  "delete them, or add another machine first: `longshore machine invite`":
    "请删除它们，或先添加另一台机器：`longshore machine invite`",
  "delete those containers first": "请先删除这些容器",
  "delete those first": "请先删除它们",
  "delete those that are not needed": "请删除不需要的",
  "delete those that are not used, or ask an admin to raise `charts.repos_per_account`":
    "请删除不用的，或请管理员提高 `charts.repos_per_account`",
  "delete those that are not used: `longshore container list`": "请删除不用的容器：`longshore container list`",
  "delete those that are not used: `longshore token list`": "请作废不用的令牌：`longshore token list`",
  "delete those that are not used: `longshore volume list`": "请删除不用的卷：`longshore volume list`",
  "delete those that nobody needs": "请删除没有人需要的",
  "delete those that nobody signs with any more": "请删除不再用于签名的密钥",
  "do not install it; ask whoever keeps the repository why it changed": "请勿安装，并向仓库的维护者询问为何变化",
  "do not install it; tell whoever keeps the repository": "请勿安装，并告知仓库的维护者",
  "free some space and try again": "请腾出一些空间后重试",
  "free some space in the data folder and try again": "请在数据目录所在的磁盘上腾出空间后重试",
  "give `username` and `password`, or check them": "请填写用户名和密码，或检查是否正确",
  "give a kubeconfig": "请提供 kubeconfig",
  "give it another name, or delete what is there": "请换一个名称，或先删除已有的",
  "give the Dockerfile as a relative path without `..`": "请用不含 `..` 的相对路径指定 Dockerfile",
  "give the address of a smaller folder, or of one chart": "请填写更小的目录的地址，或单个 Chart 的地址",
  "give the address of one chart, such as `oci://registry.example.org/charts/web`":
    "请填写单个 Chart 的地址，如 `oci://registry.example.org/charts/web`",
  "give the authority's certificate as `ca_certificate`, or use the name that the certificate is for":
    "请填写服务器的 CA 证书，或改用证书中的主机名",
  "give the certificate itself (PEM), or ask an admin to put it into the folder `certificates` of the server's data as `NAME.pem`":
    "请直接填写证书内容（PEM），或请管理员把它作为 `NAME.pem` 放入服务器数据目录的 `certificates` 中",
  "give the cluster's authority as `certificate-authority-data`":
    "请用 `certificate-authority-data` 提供集群的 CA 证书",
  "give the new one another number, or delete the old one first": "请换一个版本号，或先删除旧的",
  "give them as `username` and `password`": "请把它们填在用户名和密码中",
  "if it is this machine, forget its old key first: `longshore machine release {}`; if this one was copied from it, give it an id of its own (`/etc/machine-id`)":
    "如果就是这台机器，请先清除旧密钥：`longshore machine release {}`；如果这台是由它复制而来，请换一个 ID（`/etc/machine-id`）",
  "it begins with `-----BEGIN CERTIFICATE-----`": "证书以 `-----BEGIN CERTIFICATE-----` 开头",
  "it must be a PEM file that the server may read": "必须是服务器可以读取的 PEM 文件",
  "join it: `longshore agent join URL TOKEN`, with a token from `longshore machine invite`":
    "请加入：`longshore agent join URL TOKEN`，其中的令牌由 `longshore machine invite` 生成",
  "leave `host` out, and a free one is chosen": "不指定外部端口，会自动选择空闲的",
  "leave out files that are mostly empty": "请排除大部分为空的文件",
  "leave out what the build does not need": "请排除构建不需要的内容",
  "leave out what the build does not need, with a `.dockerignore`": "请用 `.dockerignore` 排除构建不需要的内容",
  "links must be relative, stay inside the context and have `..` only at the start":
    "链接必须是相对路径，不能指向包外，`..` 只能在开头",
  "log in again": "请重新登录",
  "log in again, or send the current one as `password`": "请重新登录，或填写当前密码",
  "look at it, and apply the file again": "请查看后重新部署清单",
  "look at the build later: GET /api/v1/builds/{}": "可稍后查看构建：GET /api/v1/builds/{}",
  "loopback and link-local addresses must be in `outbound.allow`; the server's own ports cannot be used":
    "回环地址和链路本地地址须在 `outbound.allow` 中；不能使用本服务器自己的端口",
  "make a service account for Longshore and use its token: `longshore cluster role` prints how":
    "请为 Longshore 创建服务账号并使用它的令牌：`longshore cluster role` 会说明做法",
  "make another account an admin first": "请先把另一个账号设为管理员",
  "make another one the default": "请先把另一个集群设为默认",
  "make it first": "请先创建它",
  "make one first: `longshore namespace create NAME`": "请先新建命名空间：`longshore namespace create NAME`",
  "name a chart repository of yours: `repo`": "请指定你自己的 Chart 仓库",
  "name it by its id": "请用 ID 指定",
  "name it by its id, from `longshore release list`": "请用 ID 指定，见 `longshore release list`",
  "name it with `machine`; `lan` of `GET /api/v1/machines` says which open what":
    "请选择机器；`GET /api/v1/machines` 中的 `lan` 说明各机器能开放什么",
  "name it with `machine`; `longshore gpu list` shows which has what":
    "请选择机器；`longshore gpu list` 列出各机器的 GPU",
  "name one of its contexts: {}": "请指定其中一个上下文：{}",
  "name the chart: `chart`, as `repository/chart`": "请指定 Chart，写成“仓库/Chart”",
  "name the file in it": "请指定其中的文件",
  "name the server's folder with `--data-dir`, or its database with `--database-url`":
    "请用 `--data-dir` 指定服务器的目录，或用 `--database-url` 指定数据库",
  "names must be relative and without `..`": "路径必须是相对的，且不含 `..`",
  "no machine has graphics processors for containers": "所有机器都没有可供容器使用的 GPU",
  "only files, folders and symbolic links are allowed": "只能包含文件、文件夹和符号链接",
  "only the newest ones are kept": "只保留最近的几个",
  "open the application's page anew": "请重新打开应用的页面",
  "pack it again": "请重新打包",
  "pack it again with another program": "请换一个程序重新打包",
  "pack it again without extra data": "请重新打包，不要附加其他数据",
  "pack it as a single file": "请打包成一个文件",
  "pack the archive again": "请重新打包",
  "pack the archive with deflate, the usual method": "请用通常的 deflate 方式打包",
  "pack the archive without a password": "打包时请不要设置密码",
  "pack the folder that holds the Dockerfile": "请打包包含 Dockerfile 的文件夹",
  "pack the real folder": "请打包真正的文件夹",
  "pack with `tar --hard-dereference`": "请用 `tar --hard-dereference` 打包",
  "pack without `--sparse`": "打包时请不要使用 `--sparse`",
  "push it under another version with `helm push`": "请用 `helm push` 以其他版本号推送",
  "remove it where it is published, or delete the chart repository here":
    "请在它发布的地方删除，或在这里删除此 Chart 仓库",
  "remove the agent's folder, which was copied from another machine, and join again":
    "代理的目录是从另一台机器复制来的：请删除后重新加入",
  "remove the cookies of this site in the browser, then log in again": "请在浏览器中清除此网站的 Cookie，再重新登录",
  "rename it": "请改名",
  "rename one": "请改掉其中一个的名称",
  "rename that one": "请把那一个改名",
  "say with `machine` which of them is meant; volumes do not move": "请选择是哪台机器上的卷；卷不会移动",
  "see `longshore chart list`": "见 `longshore chart list`",
  "see `longshore machine list`": "请在“机器”页查看它的状态",
  "see `longshore namespace show {}`": "见 `longshore namespace show {}`",
  "see `longshore release history`": "见 `longshore release history`",
  "see `longshore release history`; only the newest ones are kept": "见 `longshore release history`；只保留最近的几个",
  "see the chart's values: `longshore chart show REPO/CHART --values`":
    "请查看 Chart 的配置值：`longshore chart show REPO/CHART --values`",
  "send a zip, tar or tar.gz file": "请上传 zip、tar 或 tar.gz 文件",
  "send a zip, tar or tar.gz file instead": "请改为上传 zip、tar 或 tar.gz 文件",
  "send it again": "请重新上传",
  "send it again: `longshore run start FOLDER`": "请重新发送：`longshore run start FOLDER`",
  "service `{}` has: {}": "服务 `{}` 的端口有：{}",
  "set `machine.enabled` to false and restart the server first": "请先把 `machine.enabled` 设为 false 并重启服务器",
  "set `public_url` when the server is reached under another name": "如果通过其他名称访问服务器，请设置 `public_url`",
  "set the same secret at the git server and with `longshore git-repo set --webhook-secret`":
    "请在 git 服务器和这里的代码仓库中设置相同的 Webhook 密钥",
  "start it first": "请先启动它",
  "start it, and wait until its state is `running`": "请启动它，并等到状态变为“运行中”",
  "stop it first; containers go on running meanwhile": "请先停止服务器；期间容器会继续运行",
  "stop or delete containers that are not needed, or let an admin raise the quota":
    "请停止或删除不需要的容器，或请管理员提高配额",
  "take all that `kubectl config view --flatten --minify` shows":
    "请使用 `kubectl config view --flatten --minify` 的全部输出",
  "take some back: `longshore machine invites`": "请撤回一些邀请：`longshore machine invites`",
  "tell whoever keeps the repository; its owner can add a key, or no longer require signatures":
    "请告知仓库的维护者；仓库的所有者可以添加密钥，或不再要求签名",
  "the Dockerfile must be one": "Dockerfile 必须是文件",
  "the address is `oci://REGISTRY/ACCOUNT`, or one chart of it, once charts were pushed there":
    "推送 Chart 之后，地址是 `oci://REGISTRY/ACCOUNT`，或其中的一个 Chart",
  "the address is that of a chart, or of the folder of several":
    "请填写一个 Chart 的地址，或包含多个 Chart 的目录的地址",
  "the address is the folder in which `index.yaml` is": "地址应是 `index.yaml` 所在的目录",
  "the chart makes more than can be installed here": "此 Chart 生成的内容超过这里能安装的上限",
  "the chart's templates take too long; tell its author": "此 Chart 的模板耗时过长，请告知其作者",
  "the file is stored, and applied as soon as the cluster answers; `longshore workload list` shows how far it is":
    "清单已保存，集群恢复响应后会立即部署；可在 Kubernetes 页查看进展",
  "the rest belongs to the image's name": "其余部分属于镜像名",
  "the whole log: GET /api/v1/builds/{}/log, or `longshore image build-log {}`":
    "完整日志：GET /api/v1/builds/{}/log，或 `longshore image build-log {}`",
  "there are {}": "现有：{}",
  "try again": "请重试",
  "try again in a few seconds": "请几秒后重试",
  "try again in a few seconds; `GET /readyz` says how the registry is":
    "请几秒后重试；`GET /readyz` 说明镜像仓库的状态",
  "try again in a moment": "请稍后重试",
  "try again in {} seconds": "请 {} 秒后重试",
  "try again later, or give `username` and `password`": "请稍后重试，或填写用户名和密码",
  "try again to see by what": "请重试，以查看由什么使用",
  "try again when it is back: `longshore machine list`": "请等机器恢复后重试，状态见“机器”页",
  "try again when it is gone": "请等它删除后重试",
  "uninstall one, or make another namespace": "请卸载一个，或新建命名空间",
  "uninstall them first: `longshore release list`": "请先卸载它们：`longshore release list`",
  "update it, or choose another name": "请更新它，或换一个名称",
  "upgrade it to install it again, or uninstall it": "升级即可重新安装，也可以卸载",
  "upgrade it, or choose another name": "请升级它，或换一个名称",
  "upload it again": "请重新上传",
  "use UTF-8 names": "请使用 UTF-8 编码的文件名",
  "use `/` between folders": "文件夹之间请用 `/`",
  "use its id": "请用 ID 指定",
  "use those that you have, or wait some seconds": "请使用已有的凭证，或等几秒",
  "wait a minute": "请等一分钟",
  "wait until it has ended": "请等它结束",
  "wait until it has ended, or cancel it: `longshore release cancel`": "请等它结束，或取消它",
  "wait until one has ended": "请等其中一个结束",
  "wait until one has ended, or cancel one": "请等其中一个结束，或取消一个",
  "wait until some of them run, or stop those that are not needed: `longshore queue list`":
    "请等其中一些开始运行，或停止不需要的：`longshore queue list`",
  "what is inherited can be left out; nothing can be added or changed": "可以去掉继承的参数，但不能增加或修改",
  "what runs there goes on; an admin gives new ones: `longshore cluster renew {} --kubeconfig FILE`":
    "其中运行的内容不受影响；请管理员更换凭据：`longshore cluster renew {} --kubeconfig FILE`",
  "what runs there goes on; try again, or see `longshore cluster list`":
    "其中运行的内容不受影响；请重试，或查看 `longshore cluster list`",
  "write it into `longshore.toml` or set {}, and restart the server":
    "请写入 `longshore.toml` 或设置环境变量 {}，然后重启服务器",
  "{} bytes are allowed": "最多 {} 字节",
  "{} levels are allowed": "最多 {} 层",
  "?image=app:v1": "例如 ?image=app:v1",
  "`longshore cluster add` puts files into what it sends": "`longshore cluster add` 会把这些文件的内容一并发送",
  "`longshore container list --all` shows them; delete them first": "请先删除它们：`longshore container list --all`",
  "`longshore login`, or POST /api/auth/login": "请先登录",
  "`longshore namespace list --all --cluster {}` shows them; delete them first":
    "请先删除它们：`longshore namespace list --all --cluster {}`",
  "`longshore workload pods {}` lists the pods": "Pod 列表见 `longshore workload pods {}`",
  "`longshore workload pods {}` says why": "原因见 `longshore workload pods {}`",
  "`longshore workload pods {}` shows its pods, `longshore workload logs` what they print":
    "`longshore workload pods {}` 列出它的 Pod，`longshore workload logs` 显示输出",
  "`registry_advertise` is the registry's name for pods": "`registry_advertise` 是 Pod 访问镜像仓库所用的地址",
};

const HOLE = "{}";
const escaped = (text: string) => text.replace(/[.*+?^${}()|[\]\\]/g, "\\$&");
const patterns = Object.entries(hints)
  .filter(([said]) => said.includes(HOLE))
  .map(([said, words]) => ({ said: new RegExp(`^${said.split(HOLE).map(escaped).join("(.+?)")}$`, "s"), words }));

/** A hint of the server's in Chinese, or as it is where it is new to us. */
export function hintInChinese(hint: string): string {
  const known = hints[hint];
  if (known !== undefined) return known;
  for (const { said, words } of patterns) {
    const [, ...values] = said.exec(hint) ?? [];
    if (values.length > 0) return words.replaceAll(HOLE, () => values.shift() ?? "");
  }
  return hint;
}
