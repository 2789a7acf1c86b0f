BEGIN TRANSACTION;
CREATE TABLE campaign (id INTEGER PRIMARY KEY CHECK (id = 1), schema INTEGER NOT NULL, engines TEXT NOT NULL,
    features TEXT NOT NULL, seed TEXT NOT NULL, generator TEXT NOT NULL, started REAL NOT NULL, seconds REAL NOT NULL,
    done TEXT NOT NULL);
INSERT INTO "campaign" VALUES(1,1,'[{"name": "ref", "resolved": "ref", "version": "1", "features": ["mvp"]}, {"name": "x", "resolved": "x@2", "version": "2", "features": ["mvp", "simd"]}]','["mvp"]','1180591620717411303424','digest',1790000000.0,0.5,'[2, [5, 6, 9]]');
CREATE TABLE cases (id INTEGER PRIMARY KEY, body TEXT NOT NULL);
INSERT INTO "cases" VALUES(1,'{"modules": ["93a44bbb96c751218e4c00d479e4c14358122a389acca16205b1e4d0dc5f9476"], "steps": [{"do": "instantiate", "name": "a", "module": 0}, {"do": "invoke", "name": "a", "export": "<script>", "args": ["i32:1"], "repeat": 3}], "origin": "seed 5"}');
INSERT INTO "cases" VALUES(2,'{"modules": ["93a44bbb96c751218e4c00d479e4c14358122a389acca16205b1e4d0dc5f9476"], "steps": [{"do": "instantiate", "name": "a", "module": 0}, {"do": "invoke", "name": "a", "export": "<script>", "args": ["i32:1"], "repeat": 3}], "origin": "seed 5"}');
INSERT INTO "cases" VALUES(3,'{"modules": ["93a44bbb96c751218e4c00d479e4c14358122a389acca16205b1e4d0dc5f9476"], "steps": [{"do": "instantiate", "name": "a", "module": 0}, {"do": "invoke", "name": "a", "export": "<script>", "args": ["i32:1"], "repeat": 3}], "origin": "seed 5"}');
CREATE TABLE counts (kind TEXT NOT NULL, name TEXT NOT NULL, n INTEGER NOT NULL, PRIMARY KEY (kind, name));
INSERT INTO "counts" VALUES('counters','cases',5);
INSERT INTO "counts" VALUES('counters','agree',3);
INSERT INTO "counts" VALUES('counters','diverge',1);
INSERT INTO "counts" VALUES('counters','inconclusive',1);
INSERT INTO "counts" VALUES('inconclusive','fuel',1);
INSERT INTO "counts" VALUES('rules','Step_pure/nop',2);
INSERT INTO "counts" VALUES('instructions','i32.add',4);
CREATE TABLE divergences (id TEXT PRIMARY KEY, signature TEXT NOT NULL, body TEXT NOT NULL, found INTEGER NOT NULL,
    reduced INTEGER NOT NULL, n INTEGER NOT NULL);
INSERT INTO "divergences" VALUES('abc','signature','{"groups": [["ref"], ["x"]], "stage": "invoke", "sentence": "they differ", "index": 7, "step": 1, "answers": {"ref": [[{"kind": "returned"}, {"kind": "returned", "values": ["i32:1"]}], ["1,2"]], "x": [[{"kind": "crashed"}], []]}, "size": 3, "seconds": 0.5, "known": "", "byte": null}',1,2,1);
CREATE TABLE modules (digest TEXT PRIMARY KEY, bytes BLOB NOT NULL);
INSERT INTO "modules" VALUES('93a44bbb96c751218e4c00d479e4c14358122a389acca16205b1e4d0dc5f9476',X'0061736D01000000');
CREATE TABLE samples (reason TEXT NOT NULL, number INTEGER NOT NULL, body TEXT NOT NULL, found INTEGER NOT NULL,
    PRIMARY KEY (reason, number));
INSERT INTO "samples" VALUES('fuel',5,'{"ref": [[{"kind": "returned"}, {"kind": "returned", "values": ["i32:1"]}], ["1,2"]], "x": [[{"kind": "crashed"}], []]}',3);
COMMIT;
