//! A wire that can be cut: carries connections to a server as long as it is whole.

use tokio::{
    io::copy_bidirectional,
    net::{TcpListener, TcpStream},
    sync::watch,
    task::JoinSet,
};

/// The wire between a node and its server.
pub(crate) struct Wire {
    pub(crate) port: u16,
    whole: watch::Sender<bool>,
    _carrier: JoinSet<()>,
}

impl Wire {
    pub(crate) async fn to(port: u16) -> Wire {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port on loopback");
        let whole = watch::Sender::new(true);
        let here = listener.local_addr().expect("bound").port();
        let mut carrier = JoinSet::new();
        carrier.spawn(carry(listener, port, whole.subscribe()));
        Wire { port: here, whole, _carrier: carrier }
    }

    /// What is under way is lost, and nothing gets through.
    pub(crate) fn cut(&self) {
        self.whole.send_replace(false);
    }

    pub(crate) fn mend(&self) {
        self.whole.send_replace(true);
    }
}

async fn carry(listener: TcpListener, port: u16, whole: watch::Receiver<bool>) {
    let mut connections = JoinSet::new();
    while let Ok((mut near, _)) = listener.accept().await {
        while connections.try_join_next().is_some() {}
        let mut whole = whole.clone();
        if !*whole.borrow() {
            continue;
        }
        connections.spawn(async move {
            let Ok(mut far) = TcpStream::connect(("127.0.0.1", port)).await else { return };
            tokio::select! { biased;
                _ = whole.wait_for(|whole| !whole) => {}
                _ = copy_bidirectional(&mut near, &mut far) => {}
            }
        });
    }
}
