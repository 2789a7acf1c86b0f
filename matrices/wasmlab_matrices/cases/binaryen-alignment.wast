;; Atomic accesses say their natural alignment.
(assert_invalid
  (module (memory 1) (func (export "f") (drop (i32.atomic.load align=2 (i32.const 0)))))
  "atomic alignment must be natural")
