function t(o,c,n){const e=document.createElement("a");e.href=URL.createObjectURL(new Blob(n,{type:c})),e.download=o,e.click(),URL.revokeObjectURL(e.href)}export{t as d};
