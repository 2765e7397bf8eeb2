package main

// The keeper's early hook: it takes over before main when the command line asks for it.
import _ "berth/runtime/keeper"
