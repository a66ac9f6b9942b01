//! A name server that says of each name what a test wants it to say, one time after the other.

#![expect(clippy::unwrap_used, reason = "a helper that fails is a test that fails")]

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr};
use std::sync::{Arc, Mutex};

use tokio::net::UdpSocket;
use tokio::task::JoinSet;

/// What is said of a name: the addresses of each answer, from the first again after the last.
type Answers = Vec<Vec<Ipv4Addr>>;

/// A running name server; it ends when it is dropped.
pub(crate) struct NameServer {
    /// Where it listens, at the port that all name servers have.
    pub(crate) address: IpAddr,
    asked: Arc<Mutex<BTreeMap<String, usize>>>,
    _tasks: JoinSet<()>,
}

impl NameServer {
    /// Knows these names; none when nobody here may listen at the port of name servers.
    pub(crate) async fn start(names: &[(&str, Answers)]) -> Option<Self> {
        // Loopback is a whole network, and each process of tests has an address in it.
        let [high, low] = u16::try_from(std::process::id() % 65_000).unwrap().to_be_bytes();
        let address = IpAddr::from([127, 53, high, low.max(1)]);
        let socket = UdpSocket::bind((address, 53)).await.ok()?;
        let names: BTreeMap<String, Answers> =
            names.iter().map(|(name, answers)| ((*name).to_owned(), answers.clone())).collect();
        let asked = Arc::<Mutex<BTreeMap<String, usize>>>::default();
        let counts = Arc::clone(&asked);
        let mut tasks = JoinSet::new();
        tasks.spawn(async move {
            let mut packet = [0; 512];
            loop {
                let (length, from) = socket.recv_from(&mut packet).await.unwrap();
                let Some(answer) = answer(&packet[..length], &names, &counts) else { continue };
                socket.send_to(&answer, from).await.unwrap();
            }
        });
        Some(Self { address, asked, _tasks: tasks })
    }

    /// How often somebody wanted to know a name's address.
    pub(crate) fn asked(&self, name: &str) -> usize {
        self.asked.lock().unwrap().get(name).copied().unwrap_or_default()
    }
}

/// The answer to a question for addresses of the older kind; a name has none of the newer.
fn answer(
    packet: &[u8],
    names: &BTreeMap<String, Answers>,
    counts: &Mutex<BTreeMap<String, usize>>,
) -> Option<Vec<u8>> {
    let mut name = Vec::new();
    let mut at = 12;
    loop {
        let length = usize::from(*packet.get(at)?);
        at += 1;
        if length == 0 {
            break;
        }
        name.push(std::str::from_utf8(packet.get(at..at + length)?).ok()?.to_ascii_lowercase());
        at += length;
    }
    let question = packet.get(12..at + 4)?;
    let is_older_kind = packet.get(at..at + 2)? == [0, 1];
    let name = name.join(".");
    let known = names.get(&name);
    let mut addresses = Vec::new();
    if let Some(answers) = known.filter(|_| is_older_kind) {
        let mut counts = counts.lock().unwrap();
        let count = counts.entry(name).or_default();
        addresses.clone_from(&answers[*count % answers.len()]);
        *count += 1;
    }
    let mut answer = packet[..2].to_vec();
    // An answer, with recursion, and whether there is such a name.
    answer.extend([0x81, if known.is_some() { 0x80 } else { 0x83 }, 0, 1, 0]);
    answer.push(u8::try_from(addresses.len()).unwrap());
    answer.extend([0; 4]);
    answer.extend(question);
    for address in addresses {
        // The question's name, IPv4, the internet, for no time at all.
        answer.extend([0xc0, 12, 0, 1, 0, 1, 0, 0, 0, 0, 0, 4]);
        answer.extend(address.octets());
    }
    Some(answer)
}
