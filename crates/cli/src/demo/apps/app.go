// An app that reads its password as Go programs do, proves it, and stays.
package main

import (
	"crypto/sha256"
	"fmt"
	"os"
	"time"
)

func main() {
	fmt.Printf("%x\n", sha256.Sum256([]byte(os.Getenv("DB_PASSWORD"))))
	time.Sleep(10 * time.Minute)
}
