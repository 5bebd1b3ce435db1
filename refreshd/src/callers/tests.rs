use super::*;

const FEW: usize = 64;
const HONEST: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(10, 0, 0, 1));
const FLOOD: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(10, 0, 0, 2));

fn is_cut(place: &Place) -> bool {
    place.caller.was_cut()
}

#[tokio::test(start_paused = true)]
async fn newcomer_takes_the_place_of_who_waits_longest_at_the_busiest_address() {
    let callers = Callers::new(3, FEW, None);
    let honest = callers.admit(HONEST).await.expect("a place");
    tokio::time::advance(Duration::from_secs(1)).await;
    let old = callers.admit(FLOOD).await.expect("a place");
    tokio::time::advance(Duration::from_secs(1)).await;
    let new = callers.admit(FLOOD).await.expect("a place");

    let newcomer = tokio::spawn({
        let callers = Arc::clone(&callers);
        async move { callers.admit(HONEST).await.is_some() }
    });
    old.caller.is_cut().await;
    drop(old);

    assert!(newcomer.await.expect("no panic"));
    assert!(!is_cut(&honest) && !is_cut(&new));
}

#[tokio::test(start_paused = true)]
async fn connection_that_is_answered_is_never_cut_and_nor_is_one_that_came_just_now() {
    let callers = Callers::new(2, FEW, None);
    let answered = callers.admit(FLOOD).await.expect("a place");
    let answering = answered.caller.answering().await;
    tokio::time::advance(Duration::from_secs(60)).await;
    let fresh = callers.admit(FLOOD).await.expect("a place");

    callers.open().cut_one(0);
    assert!(!is_cut(&answered) && !is_cut(&fresh));

    drop(answering);
    tokio::time::advance(LEAST_WAIT).await;
    callers.open().cut_one(0);
    callers.open().cut_one(0);
    assert!(is_cut(&answered) && is_cut(&fresh));
}

/// Who looks for one to cut and a request that comes are not the same task.
#[tokio::test(start_paused = true)]
async fn request_that_comes_as_its_connection_is_cut_is_answered_or_sent_to_nobody() {
    let callers = Callers::new(1, FEW, None);
    let place = callers.admit(FLOOD).await.expect("a place");
    let caller = &place.caller;

    let answering = caller.answering().await;
    assert!(!caller.cut(), "it was looked at before its request came");
    drop(answering);

    tokio::time::advance(LEAST_WAIT).await;
    assert!(callers.open().cut_one(0));
    let too_late = tokio::time::timeout(Duration::from_secs(60), caller.answering()).await;
    assert!(too_late.is_err(), "it would be sent on, and its connection dropped");
}

#[tokio::test(start_paused = true)]
async fn address_that_has_seven_of_eight_places_leaves_the_eighth_to_others() {
    let callers = Callers::new(8, FEW, None);
    let mut flood = Vec::new();
    for _ in 0..7 {
        flood.push(callers.admit(FLOOD).await.expect("a place"));
    }
    let mut eighth = Box::pin(callers.admit(FLOOD));
    assert!(tokio::time::timeout(Duration::ZERO, &mut eighth).await.is_err());

    let honest = callers.admit(HONEST).await;

    assert!(honest.is_some() && !flood.iter().any(is_cut), "nobody had to make way");
    drop(flood.pop());
    assert!(eighth.await.is_some(), "it has the place of another one of its address");
}

#[tokio::test(start_paused = true)]
async fn newcomer_of_the_address_with_the_fewest_connections_comes_first() {
    let callers = Callers::new(2, FEW, None);
    let (first, _second) = (callers.admit(FLOOD).await.expect("a place"), callers.admit(FLOOD).await);
    let (flood, honest) = (Box::pin(callers.admit(FLOOD)), Box::pin(callers.admit(HONEST)));
    let (mut flood, honest) = (begun(flood).await, begun(honest).await);

    drop(first);

    let _honest = honest.await.expect("a place");
    assert!(tokio::time::timeout(Duration::ZERO, &mut flood).await.is_err());
}

#[tokio::test(start_paused = true)]
async fn flood_that_comes_again_and_again_takes_no_place_of_an_address_with_fewer() {
    let callers = Callers::new(3, FEW, None);
    let honest = callers.admit(HONEST).await.expect("a place");
    tokio::time::advance(LEAST_WAIT).await;
    let fresh = [callers.admit(FLOOD).await.expect("a place"), callers.admit(FLOOD).await.expect("a place")];

    let _waiting = begun(Box::pin(callers.admit(FLOOD))).await;

    assert!(!is_cut(&honest) && !fresh.iter().any(is_cut), "those that could be cut came just now");
}

#[tokio::test(start_paused = true)]
async fn newcomers_of_one_address_that_are_too_many_are_turned_away_and_no_others() {
    let callers = Callers::new(1, FEW, None);
    let _held = callers.admit(FLOOD).await;
    let mut flood: Vec<_> = (0..FEW).map(|_| Box::pin(callers.admit(FLOOD))).collect();
    let honest = Box::pin(callers.admit(HONEST));

    let last = flood.pop().expect("there are some");
    assert!(last.await.is_none());

    let _honest = begun(honest).await;
    for waiting in flood {
        let _waiting = begun(waiting).await;
    }
}

#[tokio::test(start_paused = true)]
async fn newcomer_for_whom_one_is_leaving_costs_no_other_address_a_place() {
    let other = IpAddr::V4(std::net::Ipv4Addr::new(10, 0, 0, 3));
    let callers = Callers::new(5, FEW, None);
    let honest = [callers.admit(HONEST).await.expect("a place"), callers.admit(HONEST).await.expect("a place")];
    tokio::time::advance(LEAST_WAIT).await;
    let mut flood = Vec::new();
    for _ in 0..3 {
        flood.push(callers.admit(FLOOD).await.expect("a place"));
    }

    let _other = begun(Box::pin(callers.admit(other))).await;
    tokio::time::advance(LOOKS_APART).await;
    let _again = begun(Box::pin(callers.admit(FLOOD))).await;

    let cut = honest.iter().chain(&flood).filter(|place| is_cut(place)).count();
    assert_eq!(cut, 1, "for the other address, and none for the flood");
}

#[tokio::test(start_paused = true)]
async fn burst_against_a_full_house_that_can_be_missed_is_admitted_at_once() {
    let callers = Callers::new(400, MOST_NEWCOMERS, None);
    let mut idle = Vec::new();
    for _ in 0..200 {
        idle.extend([callers.admit(FLOOD).await, callers.admit(HONEST).await].map(|place| place.expect("a place")));
    }
    tokio::time::advance(Duration::from_secs(1)).await;
    for place in idle {
        tokio::spawn(async move {
            place.caller.is_cut().await;
            drop(place);
        });
    }
    let makes_way = Arc::clone(&callers);
    tokio::spawn(async move { makes_way.make_way().await });
    let began = Instant::now();
    let newcomers = (0..100_u8).map(|number| callers.admit(IpAddr::V4(std::net::Ipv4Addr::new(10, 1, 0, number))));

    let admitted = futures_util::future::join_all(newcomers.map(Box::pin)).await;

    assert!(admitted.iter().all(Option::is_some));
    assert!(began.elapsed() < Duration::from_millis(300), "{:?}", began.elapsed());
}

#[tokio::test(start_paused = true)]
async fn newcomers_that_have_gone_are_passed_over() {
    let callers = Callers::new(1, MOST_NEWCOMERS, None);
    let held = callers.admit(HONEST).await.expect("a place");
    let gone: Vec<_> = (0..MOST_NEWCOMERS - 1).map(|_| Box::pin(callers.admit(FLOOD))).collect();
    let waiting = Box::pin(callers.admit(FLOOD));
    drop(gone);

    drop(held);

    assert!(waiting.await.is_some());
}

/// Sees that it has not ended.
async fn begun<F: Future + Unpin>(mut future: F) -> F {
    assert!(tokio::time::timeout(Duration::ZERO, &mut future).await.is_err());
    future
}

#[tokio::test(start_paused = true)]
async fn address_with_too_many_connections_gets_no_more() {
    let callers = Callers::new(8, FEW, Some(2));
    let _held = [callers.admit(FLOOD).await.expect("a place"), callers.admit(FLOOD).await.expect("a place")];

    assert!(callers.admit(FLOOD).await.is_none());
    assert!(callers.admit(HONEST).await.is_some());
}
