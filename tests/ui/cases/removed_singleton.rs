use std::{collections::HashMap, sync::RwLock};
use tower_user_scope::migration::{Removed, Singleton};

// B41: the last step of a migration: every place that still uses the shared object is an error.
type Db = Singleton<RwLock<HashMap<u32, String>>, Removed>;

async fn index(db: Db) -> usize {
    db.read().unwrap().len()
}

async fn create(db: Db) {
    db.write().unwrap().insert(1, "tea".to_owned());
}

fn main() {
    let _ = (index(Db::default()), create(Db::default()));
}
