// Where the page begins.

import { render } from "solid-js/web";
import { lightAsBefore, Shell } from "./shell/Shell";
import { speakAsBefore } from "./words";
import "./style/page.css";

lightAsBefore();
void speakAsBefore();
render(() => <Shell />, document.getElementById("page")!);
