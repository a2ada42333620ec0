//! A real mail server of the tests' own: Debian's aiosmtpd, in a process that ends with the test.

use std::io::{BufRead, BufReader, Read};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Mutex;
use std::sync::mpsc::{Receiver, channel};
use std::time::Duration;

/// How it speaks TLS.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Security {
    None,
    StartTls,
    Implicit,
}

/// A mail server that keeps what it is sent.
pub(crate) struct MailServer {
    pub(crate) at: SocketAddr,
    folder: tempfile::TempDir,
    letters: Mutex<Receiver<serde_json::Value>>,
    program: Child,
}

impl MailServer {
    pub(crate) fn start(security: Security) -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let at = TcpListener::bind("127.0.0.1:0").and_then(|port| port.local_addr());
        let at = at.expect("a port");
        let mut command = Command::new("aiosmtpd");
        // The tests of more than one package have this file in them.
        let folders = Path::new(env!("CARGO_MANIFEST_DIR")).ancestors();
        let here = folders
            .map(|folder| folder.join("core/tests/support"))
            .find(|folder| folder.is_dir());
        let here = here.expect("the folder of this file");
        command
            .env("PYTHONPATH", here)
            .env("PYTHONDONTWRITEBYTECODE", "1")
            .args(["-n", "-c", "mail.Letters", "-l", &at.to_string()])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped());
        if security != Security::None {
            let option = match security {
                Security::Implicit => "smtps",
                Security::StartTls | Security::None => "tls",
            };
            certify(folder.path());
            for part in ["cert", "key"] {
                command.arg(format!("--{option}{part}"));
                command.arg(folder.path().join(part));
            }
        }
        let program = command.spawn();
        let mut program = program.expect("aiosmtpd is not there: install python3-aiosmtpd");
        let out = BufReader::new(program.stdout.take().expect("its output"));
        let (sender, letters) = channel();
        std::thread::spawn(move || {
            for line in out.lines().map_while(Result::ok) {
                let letter = serde_json::from_str(&line).expect("a line of JSON");
                _ = sender.send(letter); // the test may be over
            }
        });
        let server = Self {
            at,
            folder,
            letters: Mutex::new(letters),
            program,
        };
        server.wait_until_it_listens();
        server
    }

    /// The certificate that its clients are to trust; it is `localhost`'s.
    pub(crate) fn certificate(&self) -> PathBuf {
        self.folder.path().join("cert")
    }

    /// The next letter that it was sent.
    pub(crate) fn letter(&self) -> Letter {
        let letters = self.letters.lock().expect("no one panicked");
        let letter = letters.recv_timeout(Duration::from_secs(20));
        Letter(letter.expect("a letter"))
    }

    /// Whether it has been sent nothing more.
    pub(crate) fn is_empty(&self) -> bool {
        let letters = self.letters.lock().expect("no one panicked");
        letters.try_recv().is_err()
    }

    /// With implicit TLS it is the client who speaks first: then a connection is all there is.
    fn wait_until_it_listens(&self) {
        for _ in 0..400 {
            if TcpStream::connect(self.at).is_ok() {
                return;
            }
            std::thread::sleep(Duration::from_millis(50));
        }
        panic!("aiosmtpd does not listen");
    }
}

impl Drop for MailServer {
    fn drop(&mut self) {
        _ = self.program.kill(); // it may have ended
        _ = self.program.wait();
    }
}

/// A letter as the server got it.
#[derive(Debug)]
pub(crate) struct Letter(serde_json::Value);

impl Letter {
    pub(crate) fn to(&self) -> &str {
        self.0["to"][0].as_str().expect("a recipient")
    }

    pub(crate) fn from(&self) -> &str {
        self.0["from"].as_str().expect("a sender")
    }

    pub(crate) fn text(&self) -> &str {
        self.0["text"].as_str().expect("a text")
    }

    pub(crate) fn is_encrypted(&self) -> bool {
        self.0["is_encrypted"] == true
    }

    pub(crate) fn is_from_a_user(&self) -> bool {
        self.0["user"] == true
    }

    /// The code in it: the one line that begins with eight digits.
    pub(crate) fn code(&self) -> String {
        let is_code = |text: &&str| text.bytes().all(|byte| byte.is_ascii_digit());
        let codes = self.text().lines().filter_map(|line| line.get(..8));
        let mut codes = codes.filter(is_code);
        let code = codes.next().expect("a code").to_owned();
        assert_eq!(codes.next(), None, "one code");
        code
    }
}

/// A key, and a certificate for `localhost` that it signed itself.
fn certify(folder: &Path) {
    let wanted = "[req]\ndistinguished_name = name\nx509_extensions = with\nprompt = no\n\
                  [name]\nCN = localhost\n\
                  [with]\nbasicConstraints = critical,CA:FALSE\nsubjectAltName = DNS:localhost\n";
    std::fs::write(folder.join("wanted"), wanted).expect("a file");
    let made = Command::new("openssl")
        .current_dir(folder)
        .args("req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 2".split(' '))
        .args("-config wanted -keyout key -out cert".split(' '))
        .output();
    let made = made.expect("openssl is not there: install it");
    let said = String::from_utf8_lossy(&made.stderr);
    assert!(made.status.success(), "{said}");
}

/// A server that takes connections, tells of each, and never says a word to anybody.
pub(crate) fn silent_server() -> (SocketAddr, Receiver<()>) {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let at = listener.local_addr().expect("its address");
    let (sender, taken) = channel();
    std::thread::spawn(move || {
        let mut held = Vec::new();
        for connection in listener.incoming().map_while(Result::ok) {
            held.push(connection);
            _ = sender.send(()); // the test may be over
        }
    });
    (at, taken)
}

/// A server that says this to the person who connects, and to whatever they say.
pub(crate) fn parrot(line: &'static str) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let at = listener.local_addr().expect("its address");
    std::thread::spawn(move || {
        for mut connection in listener.incoming().map_while(Result::ok) {
            std::thread::spawn(move || {
                use std::io::Write as _;
                let mut heard = [0; 512];
                while connection.write_all(line.as_bytes()).is_ok()
                    && connection.read(&mut heard).is_ok_and(|len| len > 0)
                {}
            });
        }
    });
    at
}
