;; The label of br_on_non_null has no type that a reference could have; the code is unreachable.
(assert_invalid
  (module (func (block (unreachable) (br_on_non_null 0))))
  "type mismatch")
