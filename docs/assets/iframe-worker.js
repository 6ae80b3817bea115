/* Search runs in a worker, which browsers refuse to start in a page that is opened from disk. There
   this class replaces it: the worker's script runs in a hidden frame of the page. */
"use strict"

class IFrameWorker extends EventTarget {
  constructor(url) {
    super()
    this.waiting = []
    this.frame = document.createElement("iframe")
    this.frame.hidden = true
    document.body.append(this.frame)
    const inside = this.frame.contentWindow
    inside.postMessage = data => this.receive(data)
    const script = inside.document.createElement("script")
    script.src = url
    script.onload = () => {
      this.isReady = true
      this.waiting.splice(0).forEach(data => this.postMessage(data))
    }
    inside.document.body.append(script)
  }

  postMessage(data) {
    if (this.isReady) {
      this.frame.contentWindow.dispatchEvent(new MessageEvent("message", { data }))
    } else {
      this.waiting.push(data)
    }
  }

  receive(data) {
    const event = new MessageEvent("message", { data })
    this.dispatchEvent(event)
    if (this.onmessage) this.onmessage(event)
  }
}

if (location.protocol === "file:") {
  window.IFrameWorker = IFrameWorker
  window.Worker = IFrameWorker
}
