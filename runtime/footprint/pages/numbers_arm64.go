package pages

// Package syscall does not know it.
const sysUserfaultfd = 282
