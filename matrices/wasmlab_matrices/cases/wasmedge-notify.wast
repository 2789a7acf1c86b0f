;; The alignment of an atomic access is its width.
(assert_invalid
  (module
    (memory 0 1)
    (func (export "f") (result i32) (memory.atomic.notify align=1 (i32.const 0) (i32.const 0))))
  "atomic alignment must be natural")
