//! A gate-server's folder, the program in it, and a page inside.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdout, Command, Output, Stdio};
use std::time::Duration;

/// Where the page is inside the tunnel.
pub(crate) const PAGE: &str = "10.9.0.1:80";

/// The program `gate-server`, as cargo built it for these tests.
pub(crate) const GATE_SERVER: &str = env!("CARGO_BIN_EXE_tested-gate-server");

/// The program `connect`, the same.
pub(crate) const CONNECT: &str = env!("CARGO_BIN_EXE_tested-connect");

/// A gate-server's folder.
pub(crate) struct Site {
    folder: tempfile::TempDir,
    pub(crate) control: SocketAddr,
    pub(crate) wireguard: SocketAddr,
}

impl Site {
    /// What `init` wrote, at ports that are free, with a page inside.
    pub(crate) fn new() -> Self {
        let site = Self::at("127.0.0.1");
        site.have_a_page();
        site
    }

    /// Puts a page inside.
    pub(crate) fn have_a_page(&self) {
        let forward = format!(
            "[[forwards]]\nat = \"{PAGE}\"\nto = \"{}\"\n",
            serve_page("127.0.0.1:0")
        );
        self.configure(|text| text + &forward);
    }

    /// What `init` wrote, at ports of this address that are free.
    pub(crate) fn at(address: &str) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let control = TcpListener::bind((address, 0)).unwrap();
        let wireguard = UdpSocket::bind((address, 0)).unwrap();
        let site = Self {
            folder,
            control: control.local_addr().unwrap(),
            wireguard: wireguard.local_addr().unwrap(),
        };
        site.admin(&["init"]);
        site.configure(|text| {
            text.replace("127.0.0.1:8080", &site.control.to_string())
                .replace("127.0.0.1:51820", &site.wireguard.to_string())
        });
        site
    }

    /// Edits the configuration.
    pub(crate) fn configure(&self, edit: impl FnOnce(String) -> String) {
        let path = self.path().join("gate.toml");
        let text = std::fs::read_to_string(&path).unwrap();
        std::fs::write(path, edit(text)).unwrap();
    }

    /// Has WireGuard listen at every address of the machine, as the kernel's does.
    pub(crate) fn listen_everywhere(&self) {
        let setting = |address| format!("wireguard_listen = \"{address}\"");
        let (from, to) = (
            setting(self.wireguard),
            setting((Ipv4Addr::UNSPECIFIED, self.wireguard.port()).into()),
        );
        self.configure(|text| text.replace(&from, &to));
    }

    pub(crate) fn path(&self) -> &Path {
        self.folder.path()
    }

    /// Compiles a library in C, to be loaded into a program.
    pub(crate) fn shared_object(&self, name: &str, source: &str) -> PathBuf {
        let text = self.path().join(format!("{name}.c"));
        let object = self.path().join(format!("{name}.so"));
        std::fs::write(&text, source).unwrap();
        let mut compile = Command::new("cc");
        compile.args(["-shared", "-fPIC", "-O1", "-Wall", "-o"]);
        let compile = compile.arg(&object).arg(&text).args(["-ldl", "-lpthread"]);
        let status = compile.status();
        let status = status.expect("there is no C compiler: install gcc");
        assert!(status.success());
        object
    }

    pub(crate) fn server(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(GATE_SERVER);
        command.current_dir(self.path()).args(arguments);
        command
    }

    /// Runs a sub-command that must succeed; gives what it printed.
    pub(crate) fn admin(&self, arguments: &[&str]) -> String {
        let output = self.server(arguments).output().unwrap();
        assert!(output.status.success(), "{arguments:?}: {}", said(&output));
        String::from_utf8(output.stdout).unwrap()
    }

    /// Runs a sub-command that must fail; gives what it complained of.
    pub(crate) fn refused(&self, arguments: &[&str]) -> String {
        let output = self.server(arguments).output().unwrap();
        assert!(!output.status.success(), "{arguments:?}: {}", said(&output));
        String::from_utf8(output.stderr).unwrap()
    }

    /// The daemon, with no more than so many files, once it is up.
    pub(crate) fn run_with_files(&self, limit: u32, arguments: &[&str]) -> Running {
        let mut command = Command::new("sh");
        let limited = format!("ulimit -n {limit} && exec \"$@\"");
        command.args(["-c", &limited, "sh", GATE_SERVER, "run"]);
        let mut daemon = Running::start(command.current_dir(self.path()).args(arguments));
        daemon.wait_for("is up");
        daemon
    }

    /// The daemon, once it is up.
    pub(crate) fn run(&self) -> Running {
        let mut daemon = Running::start(&mut self.server(&["run"]));
        daemon.wait_for("is up");
        daemon
    }
}

fn said(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

/// A program that is killed at the end of the test.
pub(crate) struct Running {
    pub(crate) child: Child,
    out: BufReader<ChildStdout>,
}

impl Running {
    pub(crate) fn start(command: &mut Command) -> Self {
        let mut child = command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let out = BufReader::new(child.stdout.take().unwrap());
        Self { child, out }
    }

    /// Types a line.
    pub(crate) fn enter(&mut self, line: &str) {
        writeln!(self.child.stdin.as_mut().unwrap(), "{line}").unwrap();
    }

    /// The first line from here on that holds this text.
    pub(crate) fn wait_for(&mut self, text: &str) -> String {
        let line = self.line_with(text);
        line.unwrap_or_else(|| panic!("it never said “{text}”"))
    }

    /// Whether it says this in what comes before its end.
    pub(crate) fn says(&mut self, text: &str) -> bool {
        self.line_with(text).is_some()
    }

    fn line_with(&mut self, text: &str) -> Option<String> {
        let mut line = String::new();
        while self.out.read_line(&mut line).unwrap() > 0 {
            if line.contains(text) {
                return Some(line);
            }
            line.clear();
        }
        None
    }

    /// Waits until it has said this, be it in the middle of a line.
    pub(crate) fn wait_for_text(&mut self, text: &str) {
        let mut said = Vec::new();
        let mut byte = [0];
        while self.out.read(&mut byte).unwrap() > 0 {
            said.push(byte[0]);
            if said.ends_with(text.as_bytes()) {
                return;
            }
        }
        panic!("it never said “{text}”: {}", String::from_utf8_lossy(&said));
    }

    /// Sends it a signal, as Ctrl-C does.
    pub(crate) fn interrupt(&self) {
        self.signal("-INT");
    }

    /// Sends it a signal, as systemd does.
    pub(crate) fn terminate(&self) {
        self.signal("-TERM");
    }

    pub(crate) fn signal(&self, name: &str) {
        let pid = self.child.id().to_string();
        let status = Command::new("kill").args([name, &pid]).status().unwrap();
        assert!(status.success());
    }

    /// Kills it without a word.
    pub(crate) fn kill(mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    /// What it keeps in memory, in KiB: its heap, its stacks and its data. The pages of its program
    /// that were read in are not in it: the kernel reads each when it first runs, and takes it back
    /// when it likes.
    pub(crate) fn memory(&self) -> u64 {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.child.id()));
        let status = status.unwrap();
        let line = status
            .lines()
            .find_map(|line| line.strip_prefix("RssAnon:"));
        let kib = line.unwrap().trim().trim_end_matches(" kB");
        kib.parse().unwrap()
    }

    /// Its exit status, once it has ended by itself.
    pub(crate) fn status(&mut self) -> Option<i32> {
        self.child.wait().unwrap().code()
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        _ = self.child.kill(); // it may have ended
        _ = self.child.wait();
    }
}

/// Serves one page to every client, at this address.
pub(crate) fn serve_page(at: &str) -> SocketAddr {
    let listener = TcpListener::bind(at).unwrap();
    let at = listener.local_addr().unwrap();
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let mut stream = stream.unwrap();
            _ = stream.read(&mut [0; 1024]); // the client may be gone
            _ = stream.write_all(
                b"HTTP/1.1 200 OK\r\nconnection: close\r\ncontent-length: 15\r\n\r\nYou are inside.",
            );
        }
    });
    at
}

/// Fetches the page through a local forward.
pub(crate) fn fetch(at: SocketAddr) -> String {
    fetch_within(at, Duration::from_secs(20))
}

/// Fetches the page, or what comes of it before nothing does for that long. The client whose forward
/// this is may have gone.
pub(crate) fn fetch_within(at: SocketAddr, limit: Duration) -> String {
    let mut page = String::new();
    let Ok(mut stream) = TcpStream::connect(at) else {
        return page;
    };
    stream.set_read_timeout(Some(limit)).unwrap();
    _ = stream.write_all(b"GET / HTTP/1.1\r\nhost: office\r\n\r\n");
    _ = stream.read_to_string(&mut page); // what came so far is what counts
    page
}
