use super::*;

#[tokio::test]
async fn a_packet_comes_from_the_address_by_which_its_sender_is_known() {
    let world = World::start().await;

    world.one.send(b"hello", world.underlay.address(TWO)).await;
    assert_eq!(
        world.two.receive().await,
        (b"hello".to_vec(), world.underlay.address(ONE))
    );

    world.two.send(b"and back", world.underlay.address(ONE)).await;
    assert_eq!(
        world.one.receive().await,
        (b"and back".to_vec(), world.underlay.address(TWO))
    );
}

#[tokio::test]
async fn a_packet_is_as_long_under_way_as_its_line_says() {
    let world = World::start().await;
    world.underlay.shape((ONE, TWO), Duration::from_millis(60));

    let sent = Instant::now();
    world.one.send(b"slow", world.underlay.address(TWO)).await;
    world.two.receive().await;
    assert!(
        sent.elapsed() >= Duration::from_millis(60),
        "{:?}",
        sent.elapsed()
    );
}

#[tokio::test]
async fn a_slow_line_does_not_hold_up_a_fast_one() {
    let world = World::start().await;
    let three = Host::of(Machine(3)).await;
    world.underlay.shape((ONE, TWO), Duration::from_millis(200));

    world.one.send(b"slow", world.underlay.address(TWO)).await;
    three.send(b"fast", world.underlay.address(TWO)).await;
    assert_eq!(world.two.receive().await.0, b"fast");
    assert_eq!(world.two.receive().await.0, b"slow");
}

#[tokio::test]
async fn what_is_cut_never_arrives_and_is_counted() {
    let world = World::start().await;
    world.underlay.cut((ONE, TWO));
    for _ in 0..3 {
        world.one.send(b"lost", world.underlay.address(TWO)).await;
    }
    world.until(|underlay| underlay.count((ONE, TWO)).cut == 3).await;
    world.underlay.mend((ONE, TWO));

    world.one.send(b"kept", world.underlay.address(TWO)).await;
    assert_eq!(world.two.receive().await.0, b"kept");
    let count = world.underlay.count((ONE, TWO));
    assert_eq!((count.cut, count.lost), (3, 0));
}

#[tokio::test]
async fn a_machine_that_starts_anew_is_found_by_what_it_sends() {
    let mut world = World::start().await;
    world.two = Host::of(TWO).await;
    world.two.send(b"here", world.underlay.address(ONE)).await;
    world.one.receive().await;

    world.one.send(b"found", world.underlay.address(TWO)).await;
    assert_eq!(world.two.receive().await.0, b"found");
}

#[tokio::test]
async fn a_machine_that_does_not_speak_first_is_found_where_it_was_said_to_be() {
    let underlay = Underlay::start(2, 1).unwrap();
    let (one, two) = (Host::of(ONE).await, Host::of(TWO).await);
    underlay.settle(TWO, two.0.local_addr().unwrap());

    one.send(b"first", underlay.address(TWO)).await;
    assert_eq!(two.receive().await.0, b"first");
}

#[tokio::test]
async fn packets_of_strangers_are_not_carried() {
    let world = World::start().await;
    let stranger = Host(UdpSocket::bind("127.0.0.1:0").await.unwrap());
    let beyond = Host::of(Machine(9)).await;

    stranger.send(b"let me in", world.underlay.address(TWO)).await;
    beyond.send(b"me too", world.underlay.address(TWO)).await;
    world.one.send(b"known", world.underlay.address(TWO)).await;
    assert_eq!(world.two.receive().await.0, b"known");
}

#[tokio::test]
async fn what_goes_to_an_absent_machine_is_counted() {
    let world = World::start().await;
    world.underlay.note_absent(TWO, true);
    world.one.send(b"anyone?", world.underlay.address(TWO)).await;

    world.until(|underlay| underlay.unanswered(TWO) == 1).await;
}

/// Two machines that the underlay has heard of.
struct World {
    underlay: Underlay,
    one: Host,
    two: Host,
}

impl World {
    async fn start() -> Self {
        let underlay = Underlay::start(3, 1).unwrap();
        let (one, two) = (Host::of(ONE).await, Host::of(TWO).await);
        for (host, machine) in [(&one, ONE), (&two, TWO)] {
            underlay.settle(machine, host.0.local_addr().unwrap());
        }

        Self { underlay, one, two }
    }

    async fn until(&self, is_so: impl Fn(&Underlay) -> bool) {
        let waited = async {
            while !is_so(&self.underlay) {
                tokio::task::yield_now().await;
            }
        };
        tokio::time::timeout(PATIENCE, waited).await.unwrap();
    }
}

/// A process of a machine: its socket.
struct Host(UdpSocket);

impl Host {
    async fn of(machine: Machine) -> Self {
        Self(UdpSocket::bind((machine.own_address(), 0)).await.unwrap())
    }

    async fn send(&self, bytes: &[u8], to: SocketAddr) {
        self.0.send_to(bytes, to).await.unwrap();
    }

    async fn receive(&self) -> (Vec<u8>, SocketAddr) {
        let mut bytes = [0; PACKET_BYTES];
        let arrived = tokio::time::timeout(PATIENCE, self.0.recv_from(&mut bytes)).await;
        let (length, source) = arrived.unwrap().unwrap();

        (bytes[..length].to_vec(), source)
    }
}

const ONE: Machine = Machine(1);
const TWO: Machine = Machine(2);
const PATIENCE: Duration = Duration::from_secs(10);
