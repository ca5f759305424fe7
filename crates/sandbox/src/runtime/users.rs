//! Users and groups by name, from the container's own `/etc/passwd` and `/etc/group`.

use super::spec::User;
use std::io;
use std::path::PathBuf;

/// Numbers that a process runs with.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Identity {
    pub uid: u32,
    pub gid: u32,
    pub groups: Vec<u32>,
    pub home: PathBuf,
}

struct Account {
    name: String,
    uid: u32,
    gid: u32,
    home: PathBuf,
}

/// Resolves against the files of the current root.
pub(super) fn resolve(user: &User) -> io::Result<Identity> {
    let passwd = std::fs::read_to_string("/etc/passwd").unwrap_or_default();
    let group = std::fs::read_to_string("/etc/group").unwrap_or_default();
    resolve_in(user, &passwd, &group)
}

fn resolve_in(user: &User, passwd: &str, group: &str) -> io::Result<Identity> {
    let image = user.image.as_deref().unwrap_or_default();
    let (wanted_user, wanted_group) = image
        .split_once(':')
        .map_or((image, None), |(u, g)| (u, Some(g)));
    let wanted_user = if wanted_user.is_empty() {
        "0"
    } else {
        wanted_user
    };

    let account = match user.uid {
        Some(uid) => accounts(passwd).find(|a| a.uid == uid),
        None => {
            accounts(passwd).find(|a| a.name == wanted_user || Ok(a.uid) == wanted_user.parse())
        }
    };
    let uid = match (user.uid, &account) {
        (Some(uid), _) => uid,
        (None, Some(account)) => account.uid,
        (None, None) => wanted_user
            .parse()
            .map_err(|_| missing("user", wanted_user))?,
    };
    // The group of the image goes with the user of the image: a pod that sets only runAsUser gets that user's group.
    let gid = match (
        user.gid,
        wanted_group.filter(|_| user.uid.is_none()),
        &account,
    ) {
        (Some(gid), _, _) => gid,
        (None, Some(name), _) => groups(group)
            .find(|g| g.0 == name || Ok(g.1) == name.parse())
            .map(|g| g.1)
            .or_else(|| name.parse().ok())
            .ok_or_else(|| missing("group", name))?,
        (None, None, Some(account)) => account.gid,
        (None, None, None) => 0,
    };
    let mut list = vec![gid];
    list.extend(user.groups.iter().copied());
    if let Some(account) = &account {
        let member = |members: &str| members.split(',').any(|m| m == account.name);
        list.extend(groups(group).filter(|g| member(g.2)).map(|g| g.1));
    }
    list.sort_unstable();
    list.dedup();
    Ok(Identity {
        uid,
        gid,
        groups: list,
        home: account.map_or_else(|| PathBuf::from("/"), |a| a.home),
    })
}

/// A directory's owner, `user[:group]`.
pub(super) fn owner(owner: &str) -> io::Result<(u32, u32)> {
    let identity = resolve(&User {
        image: Some(owner.to_owned()),
        ..User::default()
    })?;
    Ok((identity.uid, identity.gid))
}

fn accounts(passwd: &str) -> impl Iterator<Item = Account> {
    passwd.lines().filter_map(|line| {
        let mut fields = line.split(':');
        let name = fields.next()?.to_owned();
        let uid = fields.nth(1)?.parse().ok()?;
        let gid = fields.next()?.parse().ok()?;
        let home = PathBuf::from(fields.nth(1).filter(|h| !h.is_empty()).unwrap_or("/"));
        Some(Account {
            name,
            uid,
            gid,
            home,
        })
    })
}

fn groups(group: &str) -> impl Iterator<Item = (&str, u32, &str)> {
    group.lines().filter_map(|line| {
        let mut fields = line.split(':');
        let name = fields.next()?;
        let gid = fields.nth(1)?.parse().ok()?;
        Some((name, gid, fields.next().unwrap_or_default()))
    })
}

fn missing(kind: &str, name: &str) -> io::Error {
    io::Error::new(
        io::ErrorKind::NotFound,
        format!("no {kind} {name:?} in the container"),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    const PASSWD: &str = "root:x:0:0:root:/root:/bin/bash\npostgres:x:104:110:PostgreSQL,,,:/var/lib/postgresql:/bin/bash\n";
    const GROUP: &str = "root:x:0:\nssl-cert:x:109:postgres\npostgres:x:110:\n";

    fn image(name: &str) -> User {
        User {
            image: Some(name.to_owned()),
            ..User::default()
        }
    }

    #[test]
    fn a_name_brings_its_groups_and_home() {
        let id = resolve_in(&image("postgres"), PASSWD, GROUP).unwrap();
        assert_eq!((id.uid, id.gid, id.groups), (104, 110, vec![109, 110]));
        assert_eq!(id.home, PathBuf::from("/var/lib/postgresql"));
    }

    #[test]
    fn the_pod_overrides_the_image() {
        let user = User {
            uid: Some(1000),
            groups: vec![2000],
            ..image("postgres:postgres")
        };
        let id = resolve_in(&user, PASSWD, GROUP).unwrap();
        assert_eq!((id.uid, id.gid, id.groups), (1000, 0, vec![0, 2000]));
    }

    #[test]
    fn no_user_is_root_and_an_unknown_name_is_an_error() {
        assert_eq!(resolve_in(&User::default(), PASSWD, GROUP).unwrap().uid, 0);
        assert!(resolve_in(&image("nobody-here"), PASSWD, GROUP).is_err());
    }
}
