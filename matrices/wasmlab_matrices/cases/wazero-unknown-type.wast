;; A call of a function whose type there is not.
(assert_invalid
  (module binary "\00asm\01\00\00\00" "\01\04\01\60\00\00" "\03\03\02\00\05" "\0a\09\02" "\04\00\10\01\0b" "\02\00\0b")
  "unknown type")
