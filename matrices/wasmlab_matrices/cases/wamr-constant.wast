;; The offset of a segment reads a global that may change.
(assert_invalid
  (module
    (memory 0)
    (global (mut i32) (i32.const 131072))
    (data (global.get 0)))
  "constant expression required")
