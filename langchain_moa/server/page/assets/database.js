// Conversations in IndexedDB: what they are called in one store, their turns with images and events in another.

const NAME = "langchain-moa";
const VERSION = 1;
const STORES = ["conversations", "turns"];
const PATIENCE_MS = 3000; // some browsers neither open a database nor refuse to

/** Resolves to the database. Rejects where the browser has none to give, as in some private windows. */
export function openDatabase() {
  return new Promise((resolve, reject) => {
    setTimeout(reject, PATIENCE_MS, new Error("The browser does not open its database."));
    const opening = indexedDB.open(NAME, VERSION);
    opening.onupgradeneeded = () => {
      opening.result.createObjectStore("conversations", { keyPath: "id" });
      opening.result.createObjectStore("turns", { keyPath: ["conversation", "number"] });
    };
    opening.onerror = () => reject(opening.error);
    opening.onsuccess = () => {
      opening.result.onversionchange = () => opening.result.close(); // a newer page in another tab
      resolve(new Database(opening.result));
    };
  });
}

class Database {
  isKept = true;
  #database;

  constructor(database) {
    this.#database = database;
  }

  list() {
    return this.#in("readonly", (conversations) => result(conversations.getAll()));
  }

  get(id) {
    return this.#in("readonly", async (conversations, turns) => {
      const [known, all] = await Promise.all([result(conversations.get(id)), result(turns.getAll(turnsOf(id)))]);
      return known && { ...known, turns: all };
    });
  }

  save(conversation, turn) {
    const { id, changed } = conversation;
    return this.#in("readwrite", async (conversations, turns) => {
      const known = await result(conversations.get(id));
      if (!known && !conversation.isNew) throw new Error("It was deleted in another tab.");
      conversations.put({ id, title: known?.title ?? conversation.title, changed });
      if (conversation.isCut) turns.delete(turnsOf(id, turn.number));
      turns.put({ ...turn, conversation: id });
    });
  }

  rename(id, title) {
    return this.#in("readwrite", async (conversations) => {
      const known = await result(conversations.get(id));
      if (known) conversations.put({ ...known, title });
    });
  }

  remove(id) {
    return this.#in("readwrite", async (conversations, turns) => {
      conversations.delete(id);
      turns.delete(turnsOf(id));
    });
  }

  /** Resolves to what `work` does once the database has it. */
  async #in(mode, work) {
    const transaction = this.#database.transaction(STORES, mode);
    const ended = new Promise((resolve, reject) => {
      transaction.oncomplete = resolve;
      transaction.onabort = () => reject(transaction.error);
    });
    const [done] = await Promise.all([work(...STORES.map((name) => transaction.objectStore(name))), ended]);
    return done;
  }
}

const turnsOf = (id, from = 0) => IDBKeyRange.bound([id, from], [id, Infinity]);

function result(request) {
  return new Promise((resolve, reject) => {
    request.onsuccess = () => resolve(request.result);
    request.onerror = () => reject(request.error);
  });
}
