//! Keys that follow one another, over simulated time, in several processes that share a directory.

use std::collections::BTreeSet;
use std::os::unix::fs::PermissionsExt as _;
use std::thread;

use super::*;

const HOUR: u64 = 3600;
const DAY: u64 = 24 * HOUR;

fn ids(tokens: &Tokens) -> BTreeSet<String> {
    let set: Value = serde_json::from_slice(&tokens.jwks()).unwrap();
    set["keys"].as_array().unwrap().iter().map(|key| key["kid"].as_str().unwrap().to_owned()).collect()
}

fn files(settings: &TokenSettings) -> usize {
    fs::read_dir(&settings.keys).unwrap().count()
}

/// Five months, in steps of six hours, with two gateways, and an API that has verified nothing but by keys it read half a day
/// ago. Nobody ever refuses a token that is still young, and no key is kept for longer than its tokens need it.
#[test]
fn keys_follow_one_another_and_no_token_is_refused_before_its_time() {
    let folder = tempfile::tempdir().unwrap();
    let settings = TokenSettings { rotate_every: Duration::from_secs(30 * DAY), ..settings(&folder, Algorithm::EdDsa) };
    let gateways = [open(settings.clone()), open(settings.clone())];
    let (mut signed_by, mut published, mut refreshes) = (Vec::new(), Vec::new(), Vec::new());
    let mut files_max = 0;
    for step in 0..150 * 4 {
        let now = at(NOW_S + step * 6 * HOUR);
        for gateway in &gateways {
            gateway.tend(now).unwrap();
        }
        assert_eq!(ids(&gateways[0]), ids(&gateways[1]), "step {step}");
        published.push(ids(&gateways[0]));
        files_max = files_max.max(files(&settings));

        let issuer = &gateways[usize::try_from(step % 2).unwrap()];
        let access = issuer.issue_access(&holder("user_1", "login_1"), now).unwrap().token;
        let signer = header_of(access.expose())["kid"].as_str().unwrap().to_owned();
        let half_a_day_ago = &published[published.len().saturating_sub(3)];
        assert!(half_a_day_ago.contains(&signer), "step {step}: the key had been published");
        if signed_by.last() != Some(&signer) {
            signed_by.push(signer);
        }
        refreshes.push(issuer.issue_refresh("user_1", "login_1", now).unwrap());
        refreshes.retain(|refresh| now.unix_seconds() < refresh.expires_s);
        for gateway in &gateways {
            gateway.verify(access.expose(), now).unwrap();
            let oldest = refreshes.iter().take(4);
            assert!(oldest.map(|one| gateway.verify_refresh(one.token.expose(), now)).all(|verdict| verdict.is_ok()));
        }
    }
    assert_eq!(signed_by.len(), 5, "one key a month, and none twice");
    assert_eq!(signed_by.iter().collect::<BTreeSet<_>>().len(), signed_by.len());
    assert!(files_max <= 2, "{files_max} keys at once");
    assert!(refreshes.len() >= 27, "{}", refreshes.len());
}

/// All in the same second, on an empty directory.
#[test]
fn gateways_that_start_at_once_make_one_key() {
    let folder = tempfile::tempdir().unwrap();
    let settings = settings(&folder, Algorithm::Rs256);
    let gateways: Vec<Tokens> = thread::scope(|scope| {
        let starting: Vec<_> = (0..4).map(|_| scope.spawn(|| open(settings.clone()))).collect();
        starting.into_iter().map(|gateway| gateway.join().unwrap()).collect()
    });
    assert_eq!(files(&settings), 1);
    for one in &gateways {
        let token = one.issue_access(&holder("user_1", "login_1"), at(NOW_S)).unwrap().token;
        assert!(gateways.iter().all(|other| other.verify(token.expose(), at(NOW_S)).is_ok()));
    }
}

/// An operator's key, dropped in: published at once, signs after a day, stays when it is over.
#[test]
fn a_key_of_the_operator_takes_its_turn_and_is_never_deleted() {
    let folder = tempfile::tempdir().unwrap();
    let settings = settings(&folder, Algorithm::Es256);
    let tokens = open(settings.clone());
    let forge = Forge::new(Algorithm::Es256);
    let mine = settings.keys.join("mine.pem");
    fs::write(&mine, &forge.file).unwrap();
    let dropped = std::time::UNIX_EPOCH + Duration::from_secs(NOW_S + HOUR);
    fs::File::options().append(true).open(&mine).unwrap().set_modified(dropped).unwrap();
    let signer = |now_s| {
        tokens.tend(at(now_s)).unwrap();
        let token = tokens.issue_access(&holder("user_1", "login_1"), at(now_s)).unwrap().token;
        header_of(token.expose())["kid"].as_str().unwrap().to_owned()
    };
    assert_ne!(signer(NOW_S + HOUR), forge.id);
    assert!(ids(&tokens).contains(&forge.id));
    assert_ne!(signer(NOW_S + HOUR + DAY - 1), forge.id);
    assert_eq!(signer(NOW_S + HOUR + DAY), forge.id);
    assert_eq!(files(&settings), 2);
    assert_eq!(signer(NOW_S + 10 * DAY), forge.id);
    assert_eq!(files(&settings), 1, "the one before was deleted");
    assert_eq!(signer(NOW_S + 91 * DAY), forge.id);
    assert_ne!(signer(NOW_S + 120 * DAY), forge.id);
    assert!(mine.exists() && !ids(&tokens).contains(&forge.id), "its file is the operator's, but it is over");
}

/// The configuration says what signs, from the next start on. What was signed before is still good.
#[test]
fn another_algorithm_signs_at_once_and_the_old_key_verifies() {
    let folder = tempfile::tempdir().unwrap();
    let old = settings(&folder, Algorithm::EdDsa);
    let refresh = open(old.clone()).issue_refresh("user_1", "login_1", at(NOW_S)).unwrap().token;
    let new = TokenSettings { algorithm: Algorithm::Hs256, ..old };
    let tokens = open(new.clone());
    let token = tokens.issue_access(&holder("user_1", "login_1"), at(NOW_S)).unwrap().token;
    assert_eq!(header_of(token.expose())["alg"], "HS256");
    tokens.verify_refresh(refresh.expose(), at(NOW_S + 6 * DAY)).unwrap();
    assert_eq!(ids(&tokens).len(), 1, "the public key of the old one");
    tokens.tend(at(NOW_S + 9 * DAY)).unwrap();
    assert_eq!((files(&new), ids(&tokens).len()), (1, 0));
}

/// Whatever happens to the directory, who has a token gets in, and who signs in gets one.
#[test]
fn a_directory_that_cannot_be_read_or_written_stops_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let settings = settings(&folder, Algorithm::EdDsa);
    let tokens = open(settings.clone());
    let token = tokens.issue_access(&holder("user_1", "login_1"), at(NOW_S)).unwrap().token;
    let serves = || {
        tokens.verify(token.expose(), at(NOW_S)).unwrap();
        tokens.issue_access(&holder("user_1", "login_1"), at(NOW_S + 91 * DAY)).unwrap();
    };

    fs::write(settings.keys.join("broken.pem"), "hunter2").unwrap();
    let problem = tokens.tend(at(NOW_S + 60)).unwrap_err();
    assert!(problem.file.ends_with("broken.pem") && !problem.to_string().contains("hunter2"), "{problem}");
    serves();
    fs::remove_file(settings.keys.join("broken.pem")).unwrap();

    // Root may write everywhere: a folder in the place of the new file stops even root.
    fs::create_dir(settings.keys.join(".keygate-new")).unwrap();
    let problem = tokens.tend(at(NOW_S + 91 * DAY)).unwrap_err();
    assert!(problem.message.starts_with("takes no new key: "), "{problem}");
    serves();
    fs::remove_dir(settings.keys.join(".keygate-new")).unwrap();

    let elsewhere = folder.path().join("elsewhere");
    fs::rename(&settings.keys, &elsewhere).unwrap();
    let problem = tokens.tend(at(NOW_S + 60)).unwrap_err();
    assert!(problem.message.contains("cannot be locked"), "{problem}");
    serves();
    fs::write(&settings.keys, "").unwrap();
    assert!(tokens.tend(at(NOW_S + 60)).unwrap_err().message.contains("cannot be read"));
    serves();

    fs::remove_file(&settings.keys).unwrap();
    fs::rename(&elsewhere, &settings.keys).unwrap();
    tokens.tend(at(NOW_S + 91 * DAY)).unwrap();
    assert_eq!(files(&settings), 2);
    serves();
}

/// A directory that only the kubelet writes: a gateway whose key is due for its successor starts all the same.
#[test]
fn a_directory_that_cannot_be_tended_stops_no_start() {
    let folder = tempfile::tempdir().unwrap();
    let settings = settings(&folder, Algorithm::EdDsa);
    open(settings.clone());
    fs::create_dir(settings.keys.join(".keygate-new")).unwrap();
    fs::set_permissions(&settings.keys, fs::Permissions::from_mode(0o500)).unwrap();
    let tokens = Tokens::open(Some(settings.clone()), Vec::new(), at(NOW_S + 100 * DAY)).unwrap();
    tokens.issue_access(&holder("user_1", "login_1"), at(NOW_S + 100 * DAY)).unwrap();
    fs::set_permissions(&settings.keys, fs::Permissions::from_mode(0o700)).unwrap();
}
