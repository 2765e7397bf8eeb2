package main

// The early hooks of the keeper and the proxy: they take over before main when the command line asks for one of them.
import (
	_ "berth/runtime/keeper"
	_ "berth/runtime/proxy"
)
