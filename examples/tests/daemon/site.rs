//! A gate-server's folder, the program in it, and a page inside.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::path::Path;
use std::process::{Child, ChildStdout, Command, Output, Stdio};
use std::time::Duration;

/// Where the page is inside the tunnel.
pub(crate) const PAGE: &str = "10.9.0.1:80";

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

    pub(crate) fn server(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_gate-server"));
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
        let mut line = String::new();
        while self.out.read_line(&mut line).unwrap() > 0 {
            if line.contains(text) {
                return line;
            }
            line.clear();
        }
        panic!("it never said “{text}”");
    }

    /// Sends it a signal, as Ctrl-C does.
    pub(crate) fn interrupt(&self) {
        self.signal("-INT");
    }

    /// Sends it a signal, as systemd does.
    pub(crate) fn terminate(&self) {
        self.signal("-TERM");
    }

    fn signal(&self, name: &str) {
        let pid = self.child.id().to_string();
        let status = Command::new("kill").args([name, &pid]).status().unwrap();
        assert!(status.success());
    }

    /// Kills it without a word.
    pub(crate) fn kill(mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
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

/// Serves one page to whoever asks, at this address.
pub(crate) fn serve_page(at: &str) -> SocketAddr {
    let listener = TcpListener::bind(at).unwrap();
    let at = listener.local_addr().unwrap();
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let mut stream = stream.unwrap();
            _ = stream.read(&mut [0; 1024]); // whoever asked may be gone
            _ = stream.write_all(
                b"HTTP/1.1 200 OK\r\nconnection: close\r\ncontent-length: 15\r\n\r\nYou are inside.",
            );
        }
    });
    at
}

/// Fetches the page through a local forward.
pub(crate) fn fetch(at: SocketAddr) -> String {
    let mut stream = TcpStream::connect(at).unwrap();
    let limit = Some(Duration::from_secs(20));
    stream.set_read_timeout(limit).unwrap();
    stream
        .write_all(b"GET / HTTP/1.1\r\nhost: office\r\n\r\n")
        .unwrap();
    let mut page = String::new();
    _ = stream.read_to_string(&mut page); // what came so far is what counts
    page
}
