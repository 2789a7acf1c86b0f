;; A section that is longer than what is in it.
(assert_malformed (module binary "\00asm\01\00\00\00" "\01\04\00\00\00\00") "section size mismatch")
